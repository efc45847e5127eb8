"""Files of one JSON object a line that a user made for a command: all faulty lines are told, before any work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gemma_align.errors import DataError

SHOWN = 20  # faulty lines that are told of

L = TypeVar("L", bound=BaseModel)
T = TypeVar("T")


def read_lines(path: Path, model: type[L], make: Callable[[L], T], wanted: str) -> list[T]:
    """What `make` gives for each line; empty lines are passed over.

    Args:
        path: a jsonl file.
        model: what a line has to be.
        make: from a line to the record that is wanted; a ValueError of its own says what is wrong with the line.
        wanted: the fields of a line, for messages.

    Raises:
        DataError: no such file, no lines, or lines that aren't what is wanted, each with its number and reason.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: UTF-8 was wanted ({error})") from error
    found, faults = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append(make(_line(line, model)))
            except ValueError as error:
                faults.append(f"{path}, line {number}: {error}")
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise DataError("\n".join(["nothing was done", *faults[:SHOWN], *more]))
    if not found:
        raise DataError(f"{path}: no lines; wanted {wanted}, one a line")
    return found


def _line(text: str, model: type[L]) -> L:
    """Raises ValueError with the reason."""
    try:
        return model.model_validate(json.loads(text))
    except ValidationError as error:
        raise ValueError("; ".join(_said(fault) for fault in error.errors())) from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _said(fault: object) -> str:
    assert isinstance(fault, dict)
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])
