"""Which of an example's known facts a note states, and what it claims beyond them.

A fact is `{"kind", "value", "any_of": [surface forms], "negated": bool}`. It is covered where one of its surface forms
stands in the note, whole words and whole numbers, with the fact's polarity, and none stands with the other one: a
note that says both has said nothing. A form that negates by itself ("no known drug allergies") is stated as it is.

A claim of a note is a number, an amount (number and unit), a frequency, or a named condition or medication with its
polarity (`lexicon.py`). It is invented where nothing supports it, neither a known fact, nor the reference note, nor
the dialogue:

- a number needs its value; an amount needs value and unit, or the value without any unit;
- a name needs its polarity in facts or reference; the dialogue, whose questions and answers no such rule can read,
  supports a name in either polarity, unless facts or reference know it with the other one only;
- what was said but belongs in no note (`distractors`, of the form of facts) gives no support by having been said;
- a fact stated with the wrong polarity is invented too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gemma_align.evaluation.lexicon import name_at
from gemma_align.evaluation.negation import has_cue, is_negated
from gemma_align.evaluation.wording import ENDS, MARKS, QUANTITIES, is_frequency, is_number, tokens

Fact = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """Something a text states that can be checked. `unit` is "" for names and bare numbers."""

    kind: str  # number | frequency | condition | medication | fact
    value: str
    unit: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Mention:
    """A surface form of fact number `fact` in text[start:end]; `right`: with the fact's polarity."""

    fact: int
    start: int
    end: int
    right: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What checking a note against facts found."""

    covered: tuple[bool, ...]  # one a fact
    stated: frozenset[Claim]  # everything checkable that the note says
    invented: frozenset[Claim]  # what of it nothing supports


def check(
    note: str, facts: Sequence[Fact], *, dialogue: str = "", reference: str = "", distractors: Sequence[Fact] = ()
) -> Checked:
    """Check a note against the facts it should state, and the texts it may also draw from."""
    text = tokens(note)
    mentions = tuple(_mentions(text, facts))
    known = frozenset(claim for fact in facts for claim in _claims_of(fact)) | _claims_in(reference)
    heard = _claims_in(dialogue) - {claim for fact in distractors for claim in _claims_of(fact)}
    taken = {i for m in mentions for i in range(m.start, m.end)}
    others = {claim for i, claim in claims(text) if i not in taken}
    flips = {Claim("fact", str(m.fact), negated=True) for m in mentions if not m.right and not _inside(m, mentions)}
    said = {Claim("fact", str(m.fact)) for m in mentions if m.right}
    return Checked(
        covered=tuple(
            Claim("fact", str(i)) in said and Claim("fact", str(i), negated=True) not in flips
            for i in range(len(facts))
        ),
        stated=frozenset(said | flips | others),
        invented=frozenset(flips | {claim for claim in others if not _supported(claim, known, heard)}),
    )


def claims(text: tuple[str, ...]) -> Iterator[tuple[int, Claim]]:
    """Checkable claims of a text with the token they start at. Numbers inside names and list marks are none."""
    i = 0
    while i < len(text):
        kind, concept, end = name_at(text, i)
        if end > i:
            yield i, Claim(kind, concept, negated=is_negated(text, i, end))
        elif is_frequency(text[i]):
            yield i, Claim("frequency", text[i])
        elif is_number(text[i]) and not _is_list_mark(text, i):
            unit = text[i + 1] if i + 1 < len(text) and text[i + 1] in QUANTITIES else ""
            if unit or text[i] != "1":  # a bare 1 is mostly the pronoun
                yield i, Claim("number", text[i], unit)
        i = max(end, i + 1)


@lru_cache(maxsize=4096)
def _claims_in(text: str) -> frozenset[Claim]:
    return frozenset(claim for _, claim in claims(tokens(text)))


def _mentions(text: tuple[str, ...], facts: Sequence[Fact]) -> Iterator[Mention]:
    for number, fact in enumerate(facts):
        for form in {_form(str(form)) for form in fact["any_of"]}:
            for i in range(len(text) - len(form) + 1 if form else 0):
                end = i + len(form)
                if text[i:end] == form:
                    negated = has_cue(form) or is_negated(text, i, end)
                    yield Mention(number, i, end, right=negated == (bool(fact.get("negated")) or has_cue(form)))


def _form(written: str) -> tuple[str, ...]:
    """A surface form's tokens without the marks around it: "p.r.n." may stand inside a sentence."""
    form = tokens(written)
    while form and form[-1] in MARKS:
        form = form[:-1]
    return form


def _inside(mention: Mention, mentions: Sequence[Mention]) -> bool:
    """Part of a longer form of another fact, which alone says what is meant ("mother had diabetes")."""
    return any(
        m.fact != mention.fact
        and m.start <= mention.start
        and mention.end <= m.end
        and m.end - m.start > mention.end - mention.start
        for m in mentions
    )


def _claims_of(fact: Fact) -> Iterator[Claim]:
    for form in (*fact["any_of"], fact.get("value", "")):
        for claim in _claims_in(str(form)):
            negated = claim.kind in ("condition", "medication") and (claim.negated or bool(fact.get("negated")))
            yield Claim(claim.kind, claim.value, claim.unit, negated)


def _supported(claim: Claim, known: frozenset[Claim], heard: frozenset[Claim]) -> bool:
    if claim.kind in ("condition", "medication"):
        polarities = {k.negated for k in known if (k.kind, k.value) == (claim.kind, claim.value)}
        if polarities:
            return claim.negated in polarities
        return any((h.kind, h.value) == (claim.kind, claim.value) for h in heard)
    same = {c.unit for c in known | heard if (c.kind, c.value) == (claim.kind, claim.value)}
    return bool(same) and (not claim.unit or bool(same & {claim.unit, ""}))


def _is_list_mark(text: tuple[str, ...], i: int) -> bool:
    """ "2." at the start of a line or a sentence, with more after it."""
    return i + 2 < len(text) and text[i + 1] == "." and (i == 0 or text[i - 1] in ENDS)
