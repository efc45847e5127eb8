"""Numbers in words as digits, the way they are spoken in a consultation."""

from collections.abc import Sequence
from decimal import Decimal

_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
ONES = {word: value for value, word in enumerate(_SMALL.split())}
TENS = {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
CARDINALS = frozenset(ONES) | frozenset(TENS)


def plain(digits: str) -> str:
    """ "1,000" as 1000, "50.0" as 50, ".5" as 0.5."""
    value = Decimal(digits.replace(",", ""))
    return format(value.normalize(), "f")


def read_number(words: Sequence[str], start: int) -> tuple[str, int]:
    """The number spoken from `start` on, in digits, and how many words it takes; ("", 0) where there is none.

    Read: "seventy six", "a hundred", "two thousand eight", "one hundred and five point two", years ("nineteen eighty
    three", "twenty oh five") and clipped hundreds ("one twenty" = 120, as in a blood pressure).
    """
    value, i = _thousands(words, start)
    if i == start:
        return "", 0
    fraction, j = "", i + 1
    if i < len(words) and words[i] == "point":
        while j < len(words) and ONES.get(words[j], 10) < 10:
            fraction += str(ONES[words[j]])
            j += 1
    if fraction:
        return plain(f"{value}.{fraction}"), j - start
    return str(value), i - start


def _thousands(words: Sequence[str], i: int) -> tuple[int, int]:
    start = i
    value, i = _hundreds(words, i)
    if i == start:
        return 0, start
    if i < len(words) and words[i] == "thousand":
        rest, j = _hundreds(words, _past_and(words, i + 1))
        return (value * 1000 + rest, j) if j > _past_and(words, i + 1) else (value * 1000, i + 1)
    return value, i


def _hundreds(words: Sequence[str], i: int) -> tuple[int, int]:
    if words[i : i + 2] and words[i] == "a" and list(words[i + 1 : i + 2]) in (["hundred"], ["thousand"]):
        value, j = 1, i + 1
    else:
        value, j = _below_hundred(words, i)
    if j == i:
        return 0, i
    if j < len(words) and words[j] == "hundred":
        after = _past_and(words, j + 1)
        rest, k = _below_hundred(words, after)
        return (value * 100 + rest, k) if k > after else (value * 100, j + 1)
    if value in (18, 19, 20):  # years
        if j + 1 < len(words) and words[j] in ("oh", "o") and 0 < ONES.get(words[j + 1], 0) < 10:
            return value * 100 + ONES[words[j + 1]], j + 2
        rest, k = _below_hundred(words, j)
        if rest >= 10:
            return value * 100 + rest, k
    if value < 10 and j < len(words) and words[j] in TENS:  # clipped hundreds
        rest, k = _below_hundred(words, j)
        return value * 100 + rest, k
    return value, j


def _below_hundred(words: Sequence[str], i: int) -> tuple[int, int]:
    if i >= len(words):
        return 0, i
    if words[i] in TENS:
        if i + 1 < len(words) and 0 < ONES.get(words[i + 1], 0) < 10:
            return TENS[words[i]] + ONES[words[i + 1]], i + 2
        return TENS[words[i]], i + 1
    if words[i] in ONES:
        return ONES[words[i]], i + 1
    return 0, i


def _past_and(words: Sequence[str], i: int) -> int:
    """Past an "and" that a number follows: "a hundred and five"."""
    follows = i + 1 < len(words) and words[i] == "and" and words[i + 1] in CARDINALS
    return i + 1 if follows else i
