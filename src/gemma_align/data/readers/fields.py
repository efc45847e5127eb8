"""What every reader hands back, and how it takes fields from a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gemma_align.data.report import BadRow, Source
from gemma_align.types import Example, Split

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parsed:
    """One row as an example. `example.id` may be empty: the file's name and the line then make one.

    `key` is the text by which examples of different splits are compared (a dialogue without the instruction,
    the first thing said, the text of a task); `split` is set where the published set fixes it row by row. A `shot`
    belongs to no split: the set was published with it as a worked example before its prompts.
    """

    example: Example
    key: str
    split: Split | None = None
    shot: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A parsed row and where it came from."""

    example: Example
    key: str
    split: Split | None
    source: Source
    line: int
    shot: bool = False


def text_field(fields: Fields, name: str, *, empty: bool = False) -> str:
    """The named text. Raises BadRow where it is missing, no text, or (unless `empty`) blank."""
    if name not in fields:
        raise BadRow(f"no field {name!r}", f"the row has {', '.join(map(repr, list(fields)[:12])) or 'no fields'}")
    value = fields[name]
    if not isinstance(value, str):
        raise BadRow(f"{name!r} is no text", f"it is {type(value).__name__}")
    if not empty and not value.strip():
        raise BadRow(f"{name!r} is empty")
    return value


def optional_text(fields: Fields, name: str) -> str | None:
    """The named text, or None where the field is missing, null or (as in a csv) blank."""
    value = fields.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return text_field(fields, name)


def texts_field(fields: Fields, name: str) -> list[str]:
    """The named list of texts; an empty list where the field is missing or null."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRow(f"{name!r} is no list of texts")
    return [item for item in value if item.strip()]


def id_field(fields: Fields, name: str) -> str:
    """The row's own id as text, or "" where it has none."""
    value = fields.get(name)
    return str(value).strip() if isinstance(value, str | int) else ""
