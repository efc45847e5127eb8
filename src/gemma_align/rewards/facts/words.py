"""A text as words with their places, numbers written as digits, and which words stand in a denial.

Denial is decided by the clause: it begins at a word such as "no" or "denies" and lasts until the clause ends, or
until a word that takes it back, such as "but" or "reports".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from gemma_align.data.numerals import ONES, TENS

_PIECE = re.compile(
    r"\d+(?:[.,]\d+)*(?:/\d+)?%?|non(?=smok|drink|tender)|[^\W\d_]+\d[^\W_]*|[^\W\d_]+|[;!?\n]|\.(?=\s|$)",
    re.IGNORECASE,
)
_ENDS = frozenset(".;!?\n")
_DENIES = frozenset(
    [
        "no",
        "not",
        "never",
        "deny",
        "denied",
        "denying",
        "without",
        "negative",
        "neither",
        "nor",
        "none",
        "non",
        "cannot",
    ]
)
_TAKES_BACK = frozenset(
    [
        "but",
        "however",
        "except",
        "although",
        "though",
        "report",
        "reported",
        "admit",
        "admitted",
        "complain",
        "complaining",
        "present",
        "has",
        "positive",
        "endorse",
        "state",
        "yes",
    ]
)
_APOSTROPHES = re.compile(r"n['’]t\b")

_ONES = {word: value for value, word in enumerate(ONES)}
_TENS = {word: 10 * value for value, word in enumerate(TENS, 2)}


@dataclass(frozen=True, slots=True)
class Words:
    """words[i] stands in text[start[i]:end[i]], in clause clause[i]; denied[i]: what ends there is denied."""

    words: tuple[str, ...]
    start: tuple[int, ...]
    end: tuple[int, ...]
    clause: tuple[int, ...]
    denied: tuple[bool, ...]


@lru_cache(maxsize=2**14)
def read(text: str) -> Words:
    """The words of a text: lower case, plurals in the singular, number words as digits."""
    text = _APOSTROPHES.sub(" no", text)  # of the same length, so that places stay
    words: list[str] = []
    start: list[int] = []
    end: list[int] = []
    clause: list[int] = []
    number = 0
    for piece in _PIECE.finditer(text):
        if piece[0] in _ENDS:
            number += 1
        else:
            words.append(_plain(piece[0].lower()))
            start.append(piece.start())
            end.append(piece.end())
            clause.append(number)
    return _denials(*_digits(words, start, end, clause))


def is_number(word: str) -> bool:
    """A number, a fraction such as 3/10 or a percentage."""
    return word[0].isdigit()


def _plain(word: str) -> str:
    if is_number(word):
        return word.replace(",", "")
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "has")):
        return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
    return word


def _digits(
    words: Sequence[str], start: Sequence[int], end: Sequence[int], clause: Sequence[int]
) -> tuple[list[str], list[int], list[int], list[int]]:
    """Runs of number words as one number ("twenty fifteen" 2015), and "three out of ten" as 3/10."""
    out: tuple[list[str], list[int], list[int], list[int]] = ([], [], [], [])
    i = 0
    while i < len(words):
        value, after = spoken(words, i, clause) if words[i] in _ONES or words[i] in _TENS else (words[i], i + 1)
        joint = _fraction(words, after, clause) if value.isdigit() else 0
        if joint:
            below, after = spoken(words, joint, clause) if not is_number(words[joint]) else (words[joint], joint + 1)
            value = f"{value}/{below}"
        out[0].append(value)
        out[1].append(start[i])
        out[2].append(end[after - 1])
        out[3].append(clause[i])
        i = after
    return out


def _fraction(words: Sequence[str], at: int, clause: Sequence[int]) -> int:
    """Where the number after "out of" or "over" stands, if one of these stands at `at`; 0 otherwise."""
    for joint in (("out", "of"), ("over",)):
        below = at + len(joint)
        if (
            below < len(words)
            and tuple(words[at:below]) == joint
            and clause[below] == clause[at - 1]
            and (words[below].isdigit() or words[below] in _ONES or words[below] in _TENS)
        ):
            return below
    return 0


def spoken(words: Sequence[str], i: int, clause: Sequence[int]) -> tuple[str, int]:
    """The number said at words[i] and the word after it; "" where none begins."""
    total, group, last, at = 0, 0, 0, i
    while at < len(words) and clause[at] == clause[i]:
        word = words[at]
        if word in _TENS or word in _ONES:
            value = _TENS.get(word, _ONES.get(word, 0))
            if last and not _joins(last, value):
                break
            group = group * 100 + value if 0 < last < 100 and value >= 10 else group + value
            last = value or 1
        elif word == "oh" and 0 < last < 10 and at + 1 < len(words) and words[at + 1] in _ONES:  # one oh four
            group, last = group * 10, 1000
        elif word in ("hundred", "thousand") and at > i:
            group, total = (group * 100, total) if word == "hundred" else (0, total + group * 1000)
            last = 1000
        elif word == "point" and at > i and at + 1 < len(words) and words[at + 1] in _ONES:
            digits = ""
            while (at := at + 1) < len(words) and words[at] in _ONES and _ONES[words[at]] < 10:
                digits += str(_ONES[words[at]])
            return (f"{float(f'{total + group}.{digits}'):g}", at) if digits else ("", i + 1)
        else:
            break
        at += 1
    return (str(total + group), at) if at > i else ("", i + 1)


def _joins(last: int, value: int) -> bool:
    """Whether a number word goes on the number: after a hundred; thirty five; nineteen ninety; one thirty eight."""
    if last == 1000:
        return True
    if value < 10:
        return last in _TENS.values()
    return last in (1, 2, 18, 19, 20)  # hundreds of a pressure, centuries of a year


def _denials(words: list[str], start: list[int], end: list[int], clause: list[int]) -> Words:
    denied, now, before = [], False, -1
    for word, number in zip(words, clause, strict=True):
        now = (now and number == before and word not in _TAKES_BACK) or word in _DENIES
        before = number
        denied.append(now)
    return Words(tuple(words), tuple(start), tuple(end), tuple(clause), tuple(denied))
