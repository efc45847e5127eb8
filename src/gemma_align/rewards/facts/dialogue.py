"""What was said in a dialogue: quantities, and names with whether they were affirmed or denied.

Names in a question take their polarity from how the answer begins: "Any fever? - No." denies a fever. Where the answer
begins otherwise, nothing is known and either is allowed. Everything else is read as a note is.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from gemma_align.rewards.facts.claims import Claim, claims

EITHER = frozenset((True, False))
_TURN = re.compile(r"(?m)^\s*[A-Z]\w*:(.*)$")
_SENTENCE = re.compile(r"[^.?!\n]*(?:[.?!]+(?=\s|$)|\n|.$|$)")
_FILLER = r"(?:(?:um|uh|oh|well|hm+|ah|let me think|actually)\W+)*"
_ANSWER = re.compile(
    rf"\s*{_FILLER}(?:(?:yes|yeah|yep|correct|sure|right|a bit|a little|i do)|(?P<no>no|nope|none|never|not))\b[,.! ]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a text supports.

    names       by name: whether denied, affirmed (False) or possibly either
    quantities  (number, unit), unit "" where none was said
    """

    names: dict[str, frozenset[bool]]
    quantities: frozenset[tuple[str, str]]

    def supports(self, claim: Claim) -> bool:
        """A name needs its polarity; a number its unit, where both sides give one."""
        if claim.kind == "name":
            return claim.denied in self.names.get(claim.value, ())
        return any(
            value == claim.value and (unit == claim.unit or not unit or not claim.unit)
            for value, unit in self.quantities
        )


@lru_cache(maxsize=4096)
def heard_in(prompt: str) -> Heard:
    """Of the dialogue in a prompt: lines that begin with a speaker's name and a colon; the whole prompt without any."""
    names: dict[str, set[bool]] = defaultdict(set)
    quantities = set()
    for claim, polarities in _said([turn[1] for turn in _TURN.finditer(prompt)] or [prompt]):
        if claim.kind == "name":
            names[claim.value] |= polarities
        else:
            quantities.add((claim.value, claim.unit))
    return Heard({name: frozenset(found) for name, found in names.items()}, frozenset(quantities))


@lru_cache(maxsize=4096)
def stated_in(note: str) -> Heard:
    """What a reference note supports."""
    names: dict[str, set[bool]] = defaultdict(set)
    for claim in claims(note):
        if claim.kind == "name":
            names[claim.value].add(claim.denied)
    quantities = frozenset((claim.value, claim.unit) for claim in claims(note) if claim.kind == "quantity")
    return Heard({name: frozenset(found) for name, found in names.items()}, quantities)


def _said(turns: list[str]) -> Iterator[tuple[Claim, frozenset[bool]]]:
    for turn, following in zip(turns, [*turns[1:], ""], strict=True):
        opening = _ANSWER.match(turn)
        # "No, it started in May" denies the question and not what follows; "No fever" has no comma
        rest = turn[opening.end() :] if opening and turn[: opening.end()].rstrip()[-1:] in (",", ".", "!") else turn
        for sentence in _SENTENCE.findall(rest):
            asked = sentence.rstrip().endswith("?")
            for claim in claims(sentence):
                yield claim, _answered(following) if asked else frozenset((claim.denied,))


def _answered(turn: str) -> frozenset[bool]:
    answer = _ANSWER.match(turn)
    return EITHER if answer is None else frozenset((answer["no"] is not None,))
