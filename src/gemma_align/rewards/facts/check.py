"""A note checked against what is known: which facts it covers, what it invents, and where that stands.

With listed facts (`checks["facts"]`) each is covered where it is stated and never with the other polarity. Invented is
a fact stated with the wrong polarity, a listed distractor, and a claim (`claims.py`) that neither facts nor dialogue
support. Without, the dialogue's own claims are the facts: names, numbers with a unit, fractions and years.
Each thing counts once, however often it is said.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gemma_align.rewards.facts.claims import Claim, claims
from gemma_align.rewards.facts.dialogue import Heard, heard_in, stated_in
from gemma_align.rewards.facts.known import statements
from gemma_align.rewards.facts.words import Words, read

_TELLING = re.compile(r"(?:19|20)\d\d|.*/.*")  # bare numbers that mean something by themselves


@dataclass(frozen=True, slots=True)
class Span:
    """note[start:end] and what was found there."""

    start: int
    end: int
    what: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What checking a note found.

    num_facts  what a complete note covers
    covered    one span a covered fact
    invented   one span an invention
    """

    num_facts: int
    covered: tuple[Span, ...]
    invented: tuple[Span, ...]


def check_listed(
    note: str, facts: Sequence[Mapping[str, Any]], distractors: Sequence[Mapping[str, Any]], prompt: str
) -> Checked:
    """Against listed facts, and the dialogue in the prompt."""
    words = read(note)
    stated = statements(words, facts)
    right = {s.fact: s for s in reversed(stated) if s.right}
    wrong = {s.fact: s for s in reversed(stated) if not s.right}
    covered = [_span(words, s.first, s.last, _name(facts[i])) for i, s in right.items() if i not in wrong]
    invented = [_span(words, s.first, s.last, f"{_name(facts[i])}: turned round") for i, s in wrong.items()]
    taken = {i for s in stated for i in range(s.first, s.last + 1)}
    strays = {s.fact: s for s in statements(words, distractors) if not taken & set(range(s.first, s.last + 1))}
    invented += [_span(words, s.first, s.last, f"{_name(distractors[i])}: no fact") for i, s in strays.items()]
    taken |= {i for s in strays.values() for i in range(s.first, s.last + 1)}
    known = _listed(tuple((str(form), bool(fact.get("negated"))) for fact in facts for form in fact["any_of"]))
    heard = heard_in(prompt)
    loose = [claim for claim in claims(note) if not taken & set(range(claim.first, claim.last + 1))]
    invented += _unsupported(words, loose, known, heard)
    return Checked(len(facts), tuple(sorted(covered, key=_place)), tuple(sorted(invented, key=_place)))


def check_heard(note: str, prompt: str, reference: str | None = None) -> Checked:
    """Against the claims of the dialogue, or of a reference note (the dialogue then only supports)."""
    words, heard = read(note), heard_in(prompt)
    asked = heard if reference is None else stated_in(reference)
    first: dict[tuple[str, str, str], Claim] = {}
    for claim in reversed(claims(note)):
        first[claim.kind, claim.value, claim.unit] = claim
    denials = {name: {c.denied for c in claims(note) if c.value == name and c.kind == "name"} for name in asked.names}
    covered = [
        _span(words, claim.first, claim.last, f"{name} (denied)" if claim.denied else name)
        for name, polarities in asked.names.items()
        if denials[name] and denials[name] <= polarities and (len(denials[name]) == 1 or len(polarities) == 2)
        for claim in [first["name", name, ""]]
    ]
    facts = [(value, unit) for value, unit in sorted(asked.quantities) if unit or _TELLING.fullmatch(value)]
    for value, unit in facts:
        found = first.get(("quantity", value, unit)) or first.get(("quantity", value, ""))
        if found is not None:
            covered.append(_span(words, found.first, found.last, f"{value} {unit}".strip()))
    invented = _unsupported(words, claims(note), asked, heard)
    num_facts = len(asked.names) + len(facts)
    return Checked(num_facts, tuple(sorted(covered, key=_place)), tuple(sorted(invented, key=_place)))


def _unsupported(words: Words, found: Sequence[Claim], known: Heard, heard: Heard) -> list[Span]:
    """One span for each different claim that nothing supports. Known polarities of a name overrule the dialogue's."""
    spans: dict[tuple[str, str, str, bool], Span] = {}
    for claim in found:
        by = known if claim.kind == "name" and claim.value in known.names else heard
        if not by.supports(claim) and not known.supports(claim):
            what = " ".join(part for part in (claim.value, claim.unit, "(denied)" if claim.denied else "") if part)
            span = _span(words, claim.first, claim.last, f"{what}: unsupported")
            spans.setdefault((claim.kind, claim.value, claim.unit, claim.denied), span)
    return list(spans.values())


@lru_cache(maxsize=4096)
def _listed(forms: tuple[tuple[str, bool], ...]) -> Heard:
    """What the wordings of listed facts support."""
    names: dict[str, frozenset[bool]] = {}
    quantities: set[tuple[str, str]] = set()
    for form, negated in forms:
        for claim in claims(form):
            if claim.kind == "name":
                names[claim.value] = names.get(claim.value, frozenset()) | {claim.denied or negated}
            else:
                quantities.add((claim.value, claim.unit))
    return Heard(names, frozenset(quantities))


def _name(fact: Mapping[str, Any]) -> str:
    return f"{fact.get('value', fact['any_of'][0])}{' (denied)' if fact.get('negated') else ''}"


def _span(words: Words, first: int, last: int, what: str) -> Span:
    return Span(words.start[first], words.end[last], what)


def _place(span: Span) -> tuple[int, int]:
    return span.start, span.end
