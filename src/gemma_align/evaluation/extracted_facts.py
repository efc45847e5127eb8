"""Facts of a note where nobody listed them: the claims of the reference stand in for them. A heuristic.

The reference note is read as `facts.py` reads a note: its numbers, amounts, frequencies, named conditions and
medications are what the response has to say. What the reference says in words that `lexicon.py` doesn't know is not
asked for, a name that it states and denies is left out, and its own mistakes count as facts. How far this agrees with
known facts is measured on builtin data (`benchmarks/extracted_agreement.py`, docs/scorers.md).
"""

from dataclasses import dataclass
from functools import lru_cache

from gemma_align.evaluation.facts import Claim, check, claims
from gemma_align.evaluation.wording import tokens

NAMED = ("condition", "medication")


@dataclass(frozen=True, slots=True)
class Extracted:
    """What comparing a note with the claims of its reference found."""

    asked: frozenset[Claim]  # what the reference says
    covered: frozenset[Claim]  # what of it the note says too
    stated: frozenset[Claim]  # everything checkable that the note says
    unsupported: frozenset[Claim]  # what of it neither reference nor dialogue support


def compare(note: str, reference: str, *, dialogue: str = "") -> Extracted:
    """Check a note against its reference.

    A name is covered where the note has it with the reference's polarity and nowhere with the other one; an amount
    needs number and unit, a bare number its value with any unit; a frequency is itself. Support is as in `facts.py`.
    """
    asked, said = claims_of(reference), _claims(note)
    found = check(note, (), dialogue=dialogue, reference=reference)
    return Extracted(
        asked=asked,
        covered=frozenset(claim for claim in asked if _says(said, claim)),
        stated=found.stated,
        unsupported=found.invented,
    )


@lru_cache(maxsize=4096)
def claims_of(reference: str) -> frozenset[Claim]:
    """The claims of a note, without the names that it both states and denies."""
    found = _claims(reference)
    return frozenset(c for c in found if c.kind not in NAMED or _opposite(c) not in found)


def _claims(text: str) -> frozenset[Claim]:
    return frozenset(claim for _, claim in claims(tokens(text)))


def _opposite(claim: Claim) -> Claim:
    return Claim(claim.kind, claim.value, claim.unit, not claim.negated)


def _says(said: frozenset[Claim], claim: Claim) -> bool:
    if claim.kind in NAMED:
        return claim in said and _opposite(claim) not in said
    return any((c.kind, c.value) == (claim.kind, claim.value) and claim.unit in ("", c.unit) for c in said)
