"""Measures that every task has. Words stand between white space and are compared without regard to case."""

import unicodedata
from collections.abc import Mapping, Sequence

from gemma_align.types import Example


def measure(example: Example, response: str) -> Mapping[str, float]:
    """Measures of one response; a measure that isn't defined for it has no key.

    num_words     words of the response
    empty         1 where the response shows no character at all, else 0
    repetition    share of 4-grams that stood earlier in the response; 0 where there is none
    distinct_2    share of 2-grams that are different ones; from two words on
    length_ratio  words of the response / words of the reference; where the reference has words
    exact_match   1 where response and reference differ at most in white space; where there is a reference
    """
    spoken = words(response)
    measures = {"num_words": float(len(spoken)), "empty": float(is_empty(response)), "repetition": repeated(spoken, 4)}
    if len(spoken) >= 2:
        measures["distinct_2"] = 1.0 - repeated(spoken, 2)
    if example.response is not None:
        expected = words(example.response)
        if expected:
            measures["length_ratio"] = len(spoken) / len(expected)
        measures["exact_match"] = float(_squeezed(response) == _squeezed(example.response))
    return measures


def words(text: str) -> list[str]:
    """Words between white space, without regard to case and to how characters are composed."""
    return unicodedata.normalize("NFC", text).casefold().split()


def repeated(tokens: Sequence[str], size: int) -> float:
    """Share of n-grams that stood earlier in the same list: 1 - different / all; 0 without n-grams."""
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def is_empty(text: str) -> bool:
    """No letter, digit, mark, sign or symbol: white space, control and zero-width characters show nothing."""
    return all(unicodedata.category(c)[0] in "ZC" for c in text)


def _squeezed(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
