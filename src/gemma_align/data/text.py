"""Cleaning and comparing text."""

import re
import unicodedata
from typing import Any

from gemma_align.data.report import BadRow

MAX_CHARS = 200_000  # of one field: far over any context window, so such a row is a mistake in the file

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BLANKS = re.compile(r"[^\S\n]+")
_WORD = re.compile(r"\w+")


def clean(value: Any) -> tuple[Any, bool]:
    """A row's value with line ends as newlines and without control characters; True if there were any of those.

    Goes into lists and mappings. Raises BadRow for text that isn't valid UTF-8 and for fields over MAX_CHARS.
    """
    if isinstance(value, str):
        if len(value) > MAX_CHARS:
            raise BadRow("field too long", f"{len(value):,} characters; at most {MAX_CHARS:,} are read")
        if _SURROGATE.search(value):
            raise BadRow("not UTF-8", "the row holds bytes that are no UTF-8 text; save the file as UTF-8")
        text = value.replace("\r\n", "\n").replace("\r", "\n")
        cleaned = _CONTROL.sub("", text)
        return cleaned, cleaned != text
    if isinstance(value, list | tuple):
        items = [clean(item) for item in value]
        return [item for item, _ in items], any(changed for _, changed in items)
    if isinstance(value, dict):
        pairs = [(clean(str(key)), clean(item)) for key, item in value.items()]
        return {key: item for (key, _), (item, _) in pairs}, any(k or v for (_, k), (_, v) in pairs)
    return value, False


def tidy(text: str) -> str:
    """Prose with single spaces, no spaces at the ends of lines and no empty lines."""
    lines = (_BLANKS.sub(" ", line).strip() for line in text.split("\n"))
    return "\n".join(line for line in lines if line)


def words(text: str) -> list[str]:
    """Words as they are compared: case, punctuation and spacing don't count."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normal_form(text: str) -> str:
    """Equal for texts that differ in case, punctuation and spacing only. Text without words stands for itself."""
    return " ".join(words(text)) or text.strip()


def shingles(text: str, size: int = 3) -> frozenset[tuple[str, ...]]:
    """Runs of `size` words (all words as one run, where there are fewer)."""
    found = words(text) or [text.strip()]
    return frozenset(tuple(found[i : i + size]) for i in range(max(1, len(found) - size + 1)))
