"""Files that are whole or not there: JSON by one rule, and replacement in one step.

Always valid JSON: a number that isn't finite becomes the string "NaN", "Infinity" or "-Infinity". Keys are sorted and
floats written so that they read back exactly, so equal records make equal bytes.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON by the rule above. Numbers of numpy and torch become plain ones; paths and the like, text."""
    return json.dumps(_plain(value), sort_keys=True, allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return float(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=repr)
    if hasattr(value, "tolist"):  # numpy and torch
        return _plain(value.tolist())
    return str(value)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole: a reader sees the old one or the new one. OSError if it can't be written."""
    write_text(path, json_text(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a text file whole. OSError if it can't be written."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def flush_tree(folder: Path) -> None:
    """Wait until every file and folder below is on the disk, innermost first."""
    for root, _, names in os.walk(folder, topdown=False):
        for path in [Path(root, name) for name in names] + [Path(root)]:
            flush(path)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
