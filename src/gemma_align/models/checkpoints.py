"""Where weights come from. A checkpoint is named in one of four ways, and nothing ever stands in for another:

bundled:gemma-3-270m   a checkpoint in a Python package (models/bundled.py)
tiny, tiny-it          a tiny random Gemma 3, without and with a chat template (models/tiny.py)
path/to/folder         a transformers folder: config.json, safetensors, tokenizer
google/gemma-3-270m-it a Hugging Face hub id
"""

import difflib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from transformers import Gemma3ForCausalLM, GemmaTokenizer, PreTrainedTokenizerBase

from gemma_align.errors import CheckpointError
from gemma_align.models.bundled import BUNDLES, GEMMA_LICENCE, bundle, bundled_folder
from gemma_align.models.cache import Notify, digest_memory, say
from gemma_align.models.devices import resolve_device, resolve_precision
from gemma_align.models.fingerprint import fingerprint_files, fingerprint_tensors
from gemma_align.models.folder import (
    check_config,
    check_folder,
    check_tokenizer,
    load_model,
    load_tokenizer,
    read_json,
    weight_files,
)
from gemma_align.models.hub import HUB_ID, hub_config, hub_folder
from gemma_align.models.tiny import tiny_model, tiny_tokenizer

__all__ = ["CheckpointInfo", "LoadedCheckpoint", "load_checkpoint", "resolve_device", "resolve_precision"]

TINY = ("tiny", "tiny-it")
FORMS = (
    f"{', '.join(f'bundled:{name}' for name in BUNDLES)}; a local folder; "
    f"a hub id such as google/gemma-3-270m-it; {' or '.join(TINY)} (random weights, for tests)"
)


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """Where a checkpoint's weights came from.

    Attributes:
        spec: the name it was asked for by.
        source: which kind of name that is.
        path: the folder it was read from; None for weights made in memory.
        fingerprint: sha256 over weights and the settings that change what they compute; equal means the same model.
        quantised_from: what was rounded to make these weights; None if nothing was, as far as can be known.
        licence: under which terms they come; None for random weights.
    """

    spec: str
    source: Literal["bundled", "tiny", "hub", "folder"]
    path: Path | None
    fingerprint: str
    quantised_from: str | None = None
    licence: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self) | {"path": None if self.path is None else str(self.path)}


class LoadedCheckpoint(NamedTuple):
    """A model in evaluation mode, its tokenizer, and where they came from."""

    model: Gemma3ForCausalLM
    tokenizer: PreTrainedTokenizerBase
    info: CheckpointInfo


def load_checkpoint(
    spec: str, *, device: torch.device | str, dtype: torch.dtype, notify: Notify = say
) -> LoadedCheckpoint:
    """Load the checkpoint a name means.

    Args:
        spec: see the top of this file. `tiny` and `tiny-it` mean the random models even where a folder is so called.
        device: where the model goes.
        dtype: float32 or bfloat16.
        notify: takes messages for people, such as that a conversion goes on.

    Raises:
        CheckpointError: it can't be had; says what was tried and what else can be given.
    """
    if spec in TINY:
        loaded = _tiny(spec, dtype)
    elif spec.startswith("bundled:"):
        loaded = _bundled(spec, dtype, notify)
    elif (folder := _local(spec)) is not None:
        loaded = _folder(spec, "folder", folder, dtype)
    elif HUB_ID.fullmatch(spec):
        loaded = _hub(spec, dtype)
    else:
        raise CheckpointError(
            f"checkpoint {spec[:200]!r} is neither a folder here nor a known name.{_near(spec)} Wanted: {FORMS}."
        )
    loaded.model.to(torch.device(device))  # type: ignore[arg-type]
    return loaded


def _local(spec: str) -> Path | None:
    with suppress(OSError, RuntimeError, ValueError):  # over-long names, unknown ~user, NUL bytes
        folder = Path(spec).expanduser()
        return folder if spec.strip() and folder.is_dir() else None
    return None


def _tiny(spec: str, dtype: torch.dtype) -> LoadedCheckpoint:
    instruct = spec == "tiny-it"
    tokenizer = tiny_tokenizer(instruct=instruct)
    model = tiny_model(len(tokenizer), instruct=instruct)
    fingerprint = fingerprint_tensors(model.state_dict(), model.config.to_dict())
    for weight in model.parameters():  # not model.to(dtype), which would round the rotary frequencies as well
        weight.data = weight.data.to(dtype)
    return LoadedCheckpoint(model, tokenizer, CheckpointInfo(spec, "tiny", None, fingerprint))


def _bundled(spec: str, dtype: torch.dtype, notify: Notify) -> LoadedCheckpoint:
    name = spec.removeprefix("bundled:")
    wanted = bundle(name)
    folder = bundled_folder(name, notify=notify)
    special = {
        key: value for key, value in read_json(folder / "tokenizer_config.json").items() if key.endswith("_token")
    }
    # Given the file itself: AutoTokenizer parses its 33 MB seven times, which takes 3 s instead of 1.
    tokenizer = GemmaTokenizer(tokenizer_file=str(folder / "tokenizer.json"), **special)
    model = load_model(folder, dtype)
    fingerprint = _fingerprint(folder, model)
    info = CheckpointInfo(spec, "bundled", folder, fingerprint, wanted.quantised_from, wanted.licence)
    return LoadedCheckpoint(model, tokenizer, info)


def _folder(spec: str, source: Literal["folder", "hub"], folder: Path, dtype: torch.dtype) -> LoadedCheckpoint:
    check_folder(folder)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, dtype)
    check_tokenizer(tokenizer, model.config.vocab_size, spec)
    info = CheckpointInfo(spec, source, folder, _fingerprint(folder, model), licence=GEMMA_LICENCE)
    return LoadedCheckpoint(model, tokenizer, info)


def _hub(spec: str, dtype: torch.dtype) -> LoadedCheckpoint:
    try:
        check_config(read_json(hub_config(spec)), spec)
        return _folder(spec, "hub", hub_folder(spec), dtype)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_near(spec)}") from error


def _fingerprint(folder: Path, model: Gemma3ForCausalLM) -> str:
    # The settings as the class spells them: config.json may spell them as an older transformers did.
    return fingerprint_files(weight_files(folder), model.config.to_dict(), digest_memory())


def _near(spec: str) -> str:
    """Names close to a wrong one: of folders beside it, and of the fixed names."""
    path, beside = Path(spec), list[str]()
    with suppress(OSError, RuntimeError, ValueError):
        beside = [entry.name for entry in path.expanduser().parent.iterdir() if entry.is_dir()]
    near = difflib.get_close_matches(spec, [*TINY, *(f"bundled:{name}" for name in BUNDLES)], n=1, cutoff=0.7)
    near += [str(path.parent / name) for name in difflib.get_close_matches(path.name, beside, n=2, cutoff=0.7)]
    return f" Did you mean {' or '.join(near)}?" if near else ""
