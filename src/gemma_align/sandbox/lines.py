"""Lines of `gemma-align sandbox grade`: one JSON object a program."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gemma_align.evaluation.programs import extracted, helpers
from gemma_align.lines import read_lines
from gemma_align.sandbox.records import Program


class Line(BaseModel):
    """One line. `tests` is HumanEval's text that defines `check(candidate)`, or a list of asserts."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str | int
    prompt: str = ""
    response: str
    tests: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
    entry_point: str = ""


def programs(path: Path) -> list[Program]:
    """The programs of a jsonl file. Raises DataError, see `read_lines`."""
    return read_lines(path, Line, _program, "{id, prompt, response, tests, entry_point}")


def _program(line: Line) -> Program:
    """Raises ValueError with the reason."""
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
