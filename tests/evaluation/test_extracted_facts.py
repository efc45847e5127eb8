"""Facts taken from the reference: by hand, and how far they agree with known facts on builtin visits."""

import re
import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks` is no part of the package

from benchmarks.extracted_agreement import agreement, damaged_notes

from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.evaluation.clinical import measure
from gemma_align.evaluation.extracted_facts import claims_of, compare
from gemma_align.types import Example

REFERENCE = "76-year-old with cough for 3 days. Denies fever. On metoprolol 50 mg twice a day. BP 120/80."


def covered(note, reference=REFERENCE):
    return {(c.value, c.unit) for c in compare(note, reference).covered}


def unsupported(note, reference=REFERENCE, dialogue=""):
    return {(c.value, c.unit) for c in compare(note, reference, dialogue=dialogue).unsupported}


def test_what_the_reference_asks_for():
    asked = {(c.kind, c.value, c.unit, c.negated) for c in claims_of(REFERENCE)}
    assert asked == {
        ("number", "76", "year", False),
        ("condition", "cough", "", False),
        ("number", "3", "day", False),
        ("condition", "fever", "", True),
        ("medication", "metoprolol", "", False),
        ("number", "50", "mg", False),
        ("frequency", "2xday", "", False),
        ("number", "120/80", "", False),
    }


def test_the_reference_and_a_paraphrase_cover_all():
    other = "Cough, three days; no fever. Metoprolol 50mg b.i.d. Blood pressure 120 over 80. Seventy-six years old."
    for note in (REFERENCE, other):
        assert covered(note) == {(c.value, c.unit) for c in claims_of(REFERENCE)}
        assert not unsupported(note)


@pytest.mark.parametrize(
    ("note", "lost"),
    [
        ("Fever.", "fever"),
        ("No fever. Fever.", "fever"),
        ("No cough.", "cough"),
        ("50 mcg", "50"),
        ("50", "50"),
        ("3 weeks", "3"),
        ("once a day", "2xday"),
    ],
)
def test_what_covers_nothing(note, lost):
    assert lost not in {value for value, _ in covered(note)}


def test_unsupported_by_hand():
    note = "Fever of 39 degrees, takes aspirin 81 mg, metoprolol 500 mg."
    assert unsupported(note) == {("fever", ""), ("39", "degree"), ("aspirin", ""), ("81", "mg"), ("500", "mg")}
    assert ("81", "mg") not in unsupported(note, dialogue="Patient: I take 81 milligrams of aspirin.")


def test_a_name_stated_and_denied_is_not_asked_for():
    assert not claims_of("Fever last week. No fever now.")
    assert not claims_of("")


def test_measures_without_known_facts():
    found = measure(Example("m", "Doctor: Hi.", response=REFERENCE), "Cough. Fever.")
    assert found["claim_coverage"] == pytest.approx(1 / 8)
    assert found["unsupported_claims"] == 1
    assert found["unsupported_share"] == pytest.approx(1 / 2)
    nothing = measure(Example("m", "Doctor: Hi.", response="Well."), "Fine.")
    assert nothing["unsupported_claims"] == 0
    assert not {"claim_coverage", "unsupported_share"} & set(nothing)
    assert "unsupported_claims" not in measure(Example("m", "Doctor: Hi."), "Fine.")


def test_agreement_with_known_facts_on_builtin_visits():
    """Notes damaged to different degrees: both ways of counting must rank and grade them alike."""
    visits = [clinical_example(11, "report", i) for i in range(60)]
    found = agreement(damaged_notes(visits, seed=0))
    assert found["num_notes"] > 200
    assert found["coverage_correlation"] > 0.8
    assert abs(found["coverage_bias"]) < 0.1
    assert found["invented_correlation"] > 0.8


def test_damage_is_damage():
    visits = [clinical_example(11, "report", i) for i in range(20)]
    rows = damaged_notes(visits, seed=0)
    exact = {kind: statistics.mean(measure(e, n)["invented_facts"] for k, e, n in rows if k == kind) for kind in KINDS}
    assert exact["reference"] == 0
    assert exact["numbers"] > 0.3
    assert exact["another"] > 2
    assert all(re.search(r"\w", note) or kind == "dropped" for kind, _, note in rows)


KINDS = ("reference", "dropped", "numbers", "flipped", "another")
