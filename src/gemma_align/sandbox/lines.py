"""Lines of `gemma-align sandbox grade`: one JSON object a program."""

import json
import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemma_align.errors import DataError
from gemma_align.evaluation.programs import extracted, helpers
from gemma_align.sandbox.records import Program

SHOWN = 20  # faulty lines that are told of


class Line(BaseModel):
    """One line. `tests` is HumanEval's text that defines `check(candidate)`, or a list of asserts."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str | int
    prompt: str = ""
    response: str
    tests: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
    entry_point: str = ""


def programs(path: Path) -> list[Program]:
    """The programs of a jsonl file; empty lines are passed over.

    Raises:
        DataError: no such file, or lines that aren't what is wanted: each with its number and reason.
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
                found.append(_program(line))
            except ValueError as error:
                faults.append(f"{path}, line {number}: {error}")
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise DataError("\n".join(["nothing was graded", *faults[:SHOWN], *more]))
    if not found:
        raise DataError(f"{path}: no lines; wanted {{id, prompt, response, tests, entry_point}}, one a line")
    return found


def _program(text: str) -> Program:
    """Raises ValueError with the reason."""
    try:
        line = Line.model_validate(json.loads(text))
    except ValidationError as error:
        raise ValueError("; ".join(_said(fault) for fault in error.errors())) from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    name = line.entry_point
    if name and not name.isidentifier():
        raise ValueError(f"entry_point: a name was wanted, given {name!r}")
    if isinstance(line.tests, str) and not name:
        raise ValueError("entry_point: wanted, as tests is a text with check(candidate)")
    # A prompt that is the function's own head (HumanEval) is continued by the response
    head = line.prompt if name and re.search(rf"^def\s+{re.escape(name)}\s*\(", line.prompt, re.MULTILINE) else None
    tests = (f"{line.tests}\n\ncheck({name})",) if isinstance(line.tests, str) else tuple(line.tests)
    code = extracted(line.response, name, head)
    return Program(str(line.id), code, tests, name, helpers(head, name) if head else "")


def _said(fault: object) -> str:
    assert isinstance(fault, dict)
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else str(fault["msg"])
