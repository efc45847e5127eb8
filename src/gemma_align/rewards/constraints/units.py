"""Words and lines of a text, with their places in it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

Span = tuple[int, int]  # start and end (exclusive), in characters of the text

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_ENDS = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|\s*\n\s*")


class Word(NamedTuple):
    """Letters and digits between anything else, without case."""

    text: str
    span: Span

    @property
    def is_number(self) -> bool:
        """It has digits only."""
        return self.text.isdigit()


def words(text: str) -> list[Word]:
    """In order. White space, punctuation and underscores separate; an apostrophe between letters doesn't."""
    return [Word(found[0].casefold(), found.span()) for found in _WORD.finditer(text)]


def sentences(text: str) -> Iterator[Span]:
    """Where sentences stand: what lies between full stops, question and exclamation marks and line breaks."""
    start = 0
    for end in _ENDS.finditer(text):
        if text[start : end.end()].strip():
            yield start, end.end() - len(end[0]) + len(end[0].rstrip())
        start = end.end()
    if text[start:].strip():
        yield start, len(text)


def lines(text: str) -> Iterator[Span]:
    """Where lines with anything visible in them stand, without the space around them."""
    for found in re.finditer(r"[^\n]+", text):
        line = found[0]
        if line.strip():
            yield found.start() + len(line) - len(line.lstrip()), found.end() - len(line) + len(line.rstrip())
