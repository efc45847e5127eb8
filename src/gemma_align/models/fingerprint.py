"""What a checkpoint is, in 64 hex digits: its weight files and the settings that change what they compute.

Reading a gigabyte at every start would be slow, so a file's sha256 is remembered under its identity: device, inode,
size and times. Writing to a file moves its change time, which no program can set back, so a remembered digest is
sound.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

WORTH_REMEMBERING = 2**24
"""Smaller files are hashed sooner than a note is found."""

SETTINGS = (
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "head_dim",
    "hidden_activation",
    "layer_types",
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "query_pre_attn_scalar",
    "rms_norm_eps",
    "rope_parameters",
    "sliding_window",
)
"""Settings that are not visible in the tensors' shapes. Others, such as library versions, don't matter."""


def file_sha256(path: Path, memory: Path | None = None) -> str:
    """The sha256 of a file's contents.

    Args:
        path: the file.
        memory: a folder of digests computed before; used and added to where it can be.
    """
    note = None
    if memory is not None and (stat := path.stat()).st_size >= WORTH_REMEMBERING:
        identity = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        note = memory / hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        with suppress(OSError, UnicodeDecodeError):
            digest = note.read_text(encoding="ascii")
            if len(digest) == 64:
                return digest
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if note is not None:
        with suppress(OSError):  # a cache that can't be written costs time, nothing else
            note.parent.mkdir(parents=True, exist_ok=True)
            part = note.with_name(f"{note.name}.{os.getpid()}")
            part.write_text(digest, encoding="ascii")
            part.replace(note)
    return digest


def fingerprint_files(weights: Iterable[Path], config: Mapping[str, Any], memory: Path | None = None) -> str:
    """The fingerprint of a checkpoint on disk: its safetensors files and its configuration."""
    return _combine({path.name: file_sha256(path, memory) for path in weights}, config)


def fingerprint_tensors(tensors: Mapping[str, "Tensor"], config: Mapping[str, Any]) -> str:
    """The fingerprint of weights that were made in memory."""
    digests = {
        name: hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        for name, tensor in tensors.items()
    }
    return _combine(digests, config)


def _combine(digests: Mapping[str, str], config: Mapping[str, Any]) -> str:
    settings = {name: config.get(name) for name in SETTINGS}
    text = json.dumps({"config": settings, "weights": dict(digests)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
