"""Which of an example's listed facts a note states, rightly or wrongly.

A fact is `{"kind", "value", "any_of": [wordings], "negated": bool}`. It is stated where the words of one wording stand
in one clause in their order, with at most `GAP` other words between two of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gemma_align.rewards.facts.words import Words, read

GAP = 1
_AFTERWARDS = frozenset(("denied", "negative", "none", "absent"))  # "Chest pain: denied"
_BETWEEN = frozenset(("is", "was", "are", "were"))


@dataclass(frozen=True, slots=True)
class Statement:
    """Words first..last of a note state listed fact number `fact`; `right`: with the fact's polarity."""

    fact: int
    first: int
    last: int
    right: bool


def statements(note: Words, facts: Sequence[Mapping[str, Any]]) -> list[Statement]:
    """All statements of facts, those left out that are part of a longer one of another fact."""
    places: dict[str, list[int]] = {}
    for i, word in enumerate(note.words):
        places.setdefault(word, []).append(i)
    found = {
        Statement(number, first, last, denied(note, last) == (bool(fact.get("negated")) or denies))
        for number, fact in enumerate(facts)
        for wording, denies in _wordings(tuple(map(str, fact["any_of"])))
        for first, last in _occurrences(wording, note, places)
    }
    return sorted((s for s in found if not _inside(s, found)), key=lambda s: (s.first, s.last, s.fact))


def denied(note: Words, last: int) -> bool:
    """Whether what ends at word `last` is denied, before it or right after it."""
    if note.denied[last]:
        return True
    after = last + 1
    while after < len(note.words) and note.words[after] in _BETWEEN:
        after += 1
    if after >= len(note.words) or note.clause[after] != note.clause[last] or note.words[after] not in _AFTERWARDS:
        return False
    return after + 1 >= len(note.words) or note.words[after + 1] != "for"  # "Skin negative for rash" is about the rash


@lru_cache(maxsize=2**14)
def _wordings(forms: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], bool], ...]:
    """The words of each wording, and whether it denies by itself ("no known drug allergies")."""
    found = {(words.words, any(words.denied)) for words in map(read, forms) if words.words}
    return tuple(sorted(found))


def _occurrences(
    wording: tuple[str, ...], note: Words, places: Mapping[str, Sequence[int]]
) -> Iterator[tuple[int, int]]:
    for first in places.get(wording[0], ()):
        last = first
        for word in wording[1:]:
            reach = range(last + 1, min(last + 2 + GAP, len(note.words)))
            following = next((i for i in reach if note.words[i] == word), None)
            if following is None or note.clause[following] != note.clause[first]:
                break
            last = following
        else:
            yield first, last


def _inside(one: Statement, found: set[Statement]) -> bool:
    """Part of a longer statement of another fact, which alone says what is meant."""
    return any(
        s.fact != one.fact and s.first <= one.first and one.last <= s.last and s.last - s.first > one.last - one.first
        for s in found
    )
