"""Fact measures on builtin visits, whose facts are known: references pass, and each kind of damage is noticed."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest

from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.evaluation.clinical import measure
from gemma_align.types import Example

NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def visits() -> list[Example]:
    return [clinical_example(7, split, i) for split in ("train", "tune", "report") for i in range(40)]


def test_references_cover_every_fact_and_invent_nothing(visits):
    for example in visits:
        found = measure(example, example.response)
        assert found.get("fact_coverage", 1.0) == 1.0, example.response
        assert found["invented_facts"] == 0, example.response


def test_dialogues_are_no_notes(visits):
    """Copying the dialogue scores worse than the reference on facts, though all of it was said."""
    copies = [measure(e, e.prompt) for e in visits if e.checks["facts"]]
    assert sum(c["fact_coverage"] for c in copies) / len(copies) < 0.75


def _damaged_numbers(visits: list[Example]) -> Iterator[tuple[Example, str]]:
    for example in visits:
        for found in NUMBER.finditer(example.response):
            if not re.match(r"\.\s", example.response[found.end() :]):  # not the number of a list entry
                yield (
                    example,
                    f"{example.response[: found.start()]}{float(found[0]) * 10 + 7:g}{example.response[found.end() :]}",
                )


def test_changed_numbers_are_invented(visits):
    damaged = [measure(example, note) for example, note in _damaged_numbers(visits)]
    assert len(damaged) > 100
    assert sum(found["invented_facts"] > 0 for found in damaged) / len(damaged) > 0.97
    assert sum(found["fact_coverage"] < 1 for found in damaged) / len(damaged) > 0.9


def test_flipped_polarity_is_noticed(visits):
    """Denials dropped: what the patient denied now reads as stated."""
    noticed = tried = 0
    for example in visits:
        flipped = re.sub(r"\b(?:Denies|denies|Patient denies|Negative for|but no|No) ", "Has ", example.response)
        if flipped != example.response and any(fact["negated"] for fact in example.checks["facts"]):
            tried += 1
            found = measure(example, flipped)
            noticed += found["fact_coverage"] < 1 and found["invented_facts"] > 0
    assert tried > 30
    assert noticed / tried > 0.95


def test_another_patients_note_is_mostly_invented(visits):
    same = [(a, b) for a, b in pairwise(visits) if a.checks["facts"] and b.checks["facts"]]
    swapped = [measure(a, b.response) for a, b in same]
    assert sum(s["fact_coverage"] for s in swapped) / len(swapped) < 0.15
    shares = [s["invented_share"] for s in swapped if "invented_share" in s]
    assert sum(shares) / len(shares) > 0.8
