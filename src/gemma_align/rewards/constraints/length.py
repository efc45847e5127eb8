"""Degenerate length, of text alone: words are stretches of letters and digits (`units.words`).

    empty        no visible character
    short        words < max(min_words, min_of_reference x words of the reference)
    long         words > max_words, or > max(free_words, max_of_reference x words of the reference)
                 (where there is a reference, as many words as it has are neither)
    blanks       longest stretch of white space and invisible characters > max_blanks
    blank share  their share of the text > max_blank_share, from 40 characters on
    line breaks  line breaks in one stretch > max_line_breaks
    unfinished   the answer didn't end by itself; a cost of its own (`unfinished` times the weight) and no cap, since it
                 may only have met a tight limit, and a cap would leave nothing to learn where all do

An answer in a script without spaces is counted in stretches, so `short` looks at characters too: text of 20 or more
visible characters is never short by `min_words`.
"""

import math
import re
from collections.abc import Iterator

from gemma_align.rewards.constraints.base import Measure, severity
from gemma_align.rewards.constraints.limits import LengthLimits
from gemma_align.rewards.constraints.units import words
from gemma_align.rewards.fold import INVISIBLE
from gemma_align.types import Answer

ENOUGH_CHARS = 20
MIN_CHARS = 40  # of a text whose share of blanks says anything
_BLANK = re.compile(rf"[\s{INVISIBLE}]+")


def length(answer: Answer, reference: str | None, limits: LengthLimits, unfinished: float) -> list[Measure]:
    """All measures of an answer."""
    text = answer.text
    blanks = [match.span() for match in _BLANK.finditer(text)]
    visible = len(text) - sum(end - start for start, end in blanks)
    count = len(words(text))
    measures = [Measure("words", count, 0.0)]
    if not visible:
        measures.append(Measure("empty", 0.0, 1.0, ((0, len(text)),), "nothing visible"))
    else:
        measures += _size(text, count, visible, len(words(reference)) if reference else None, limits)
        measures += _blanks(text, blanks, visible, limits)
    if unfinished and not answer.finished:
        measures.append(Measure("unfinished", 1.0, unfinished, ((len(text), len(text)),), "cut off", hard=False))
    return measures


def _size(text: str, count: int, visible: int, reference: int | None, limits: LengthLimits) -> Iterator[Measure]:
    least = 0 if visible >= ENOUGH_CHARS else limits.min_words
    most = limits.max_words
    if reference is not None:  # as many words as it has are neither too few nor too many, but one word there must be
        least = min(max(least, math.ceil(limits.min_of_reference * reference)), max(reference, least and 1))
        most = max(min(most, max(limits.free_words, math.floor(limits.max_of_reference * reference))), reference)
    everything = ((0, len(text)),)
    if count < least:
        level = severity(count, least - 1, min(0, least - 1))
        yield Measure("short", count, level, everything, f"{_words(count)}, at least {least} wanted")
    if count > most:
        level = severity(count, most + 1, 2 * most + 1)
        tail = ((words(text)[most].span[0], len(text)),)
        yield Measure("long", count, level, tail, f"{_words(count)}, at most {most} wanted")


def _blanks(text: str, blanks: list[tuple[int, int]], visible: int, limits: LengthLimits) -> Iterator[Measure]:
    longest = max(blanks, key=lambda span: span[1] - span[0], default=(0, 0))
    size = longest[1] - longest[0]
    if size > limits.max_blanks:
        level = severity(size, limits.max_blanks, 5 * limits.max_blanks)
        yield Measure("blanks", size, level, (longest,), f"{size} blank characters in a row")
    share = 1 - visible / len(text)
    if len(text) >= MIN_CHARS and share > limits.max_blank_share:
        level = severity(share, limits.max_blank_share, 1.0)
        yield Measure("blank share", share, level, tuple(blanks), f"{share:.0%} of the text is blank")
    broken = max(blanks, key=lambda span: text.count("\n", *span), default=(0, 0))
    breaks = text.count("\n", *broken)
    if breaks > limits.max_line_breaks:
        level = severity(breaks, limits.max_line_breaks, 5 * limits.max_line_breaks)
        yield Measure("line breaks", breaks, level, (broken,), f"{breaks} line breaks in a row")


def _words(count: int) -> str:
    return f"{count} word{'' if count == 1 else 's'}"
