"""Clinical measures: ROUGE by hand, and which measure appears when."""

import csv
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_align.evaluation.clinical import measure
from gemma_align.evaluation.facts import check
from gemma_align.types import Example

COUGH = {"kind": "symptom", "value": "cough", "any_of": ["cough"], "negated": False}
FEVER = {"kind": "symptom", "value": "fever", "any_of": ["fever"], "negated": True}


def example(response=None, facts=None, prompt="Doctor: How are you?"):
    return Example(id="c", prompt=prompt, response=response, checks={} if facts is None else {"facts": facts})


def test_rouge_by_hand():
    # reference: patient denies fever chills (4); response: patient has fever (3)
    # words: patient, fever -> P 2/3, R 2/4, F 4/7; pairs: none; longest common subsequence 2 -> 4/7
    found = measure(example("Patient denies fever, chills."), "Patient has fever")
    assert (found["rouge1"], found["rouge2"], found["rougeL"]) == pytest.approx((4 / 7, 0.0, 4 / 7))


def test_rouge_stems_and_knows_order():
    same = measure(example("Coughing at nights"), "coughs at night")
    assert same["rougeL"] == pytest.approx(1.0)
    turned = measure(example("one two three"), "three two one")
    assert turned["rouge1"] == pytest.approx(1.0)
    assert turned["rougeL"] == pytest.approx(1 / 3)


def test_the_reference_itself_scores_one_and_an_empty_note_zero():
    best, worst = measure(example("No fever."), "No fever."), measure(example("No fever."), "")
    assert [best[k] for k in ("rouge1", "rouge2", "rougeL", "exact_match", "length_ratio")] == [1.0] * 5
    assert [worst[k] for k in ("rouge1", "rouge2", "rougeL", "exact_match", "length_ratio")] == [0.0] * 5
    assert worst["empty"] == 1.0


def test_fact_measures_by_hand():
    found = measure(example(facts=[COUGH, FEVER]), "Cough and fever. Takes aspirin 81 mg.")
    assert found["fact_coverage"] == 0.5
    assert found["invented_facts"] == 3  # fever, aspirin, 81 mg
    assert found["invented_share"] == pytest.approx(3 / 4)


def test_measures_appear_only_where_they_are_defined():
    assert not {"rouge1", "fact_coverage", "invented_facts", "invented_share"} & set(measure(example(), "x"))
    assert "invented_facts" not in measure(example("x"), "x")
    none_known = measure(example(facts=[]), "Nothing to report.")
    assert none_known["invented_facts"] == 0.0
    assert not {"fact_coverage", "invented_share"} & set(none_known)


def test_what_the_dialogue_says_is_not_invented():
    spoken = "Patient: I take aspirin, eighty one milligrams."
    assert measure(example(facts=[COUGH], prompt=spoken), "Aspirin 81 mg.")["invented_facts"] == 0.0


WORDS = """no|denies|fever|cough|,|.|:|?|and|or|has|are|denied|50|mg|0.5|5-6|twice|a|day|hundred|twenty|point|over
|b.i.d.|½|other|than|n't|1,000|x"""
PIECES = st.sampled_from(WORDS.split("|"))
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=15).map(" ".join), st.lists(PIECES).map("".join))


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_any_text_gives_finite_measures_in_range(note, dialogue):
    found = measure(example("No fever.", facts=[COUGH, FEVER], prompt=dialogue), note)
    assert all(math.isfinite(value) and value >= 0 for value in found.values())
    shares = ("rouge1", "rouge2", "rougeL", "fact_coverage", "invented_share", "repetition", "empty", "exact_match")
    assert all(found.get(name, 0.0) <= 1.0 for name in shares)


def test_real_notes_score_one_against_themselves_and_keep_their_numbers(real_data):
    path = real_data / "mts_dialog" / "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    supported = 0
    for row in rows:
        found = measure(example(row["section_text"], facts=[], prompt=row["dialogue"]), row["section_text"])
        assert found["rouge1"] == pytest.approx(1.0)
        assert found["invented_facts"] == 0
        copied = check(row["section_text"], (), dialogue=row["dialogue"])
        supported += len(copied.stated) - len(copied.invented)
    assert supported > 300


@pytest.mark.parametrize("loop", ["no fever ", "fever no ", "no, ", "fever, ", "twenty ", "a hundred and ", "50 mg, "])
def test_a_model_that_loops_for_thousands_of_words_does_not_stall(loop):
    started = time.process_time()
    measure(example("No fever.", facts=[COUGH, FEVER]), loop * 2000)
    assert time.process_time() - started < 10
