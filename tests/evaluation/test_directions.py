"""Every measure that the project makes has a way that is better, or a reason why it has none."""

import re
from pathlib import Path

import pytest

from gemma_align.evaluation.clinical import measure as clinical
from gemma_align.evaluation.directions import DIRECTIONS, SHARES, direction, is_share, least_is_best
from gemma_align.types import Example

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def test_every_documented_measure_is_known():
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| `[a-zL]", line)]
    named = {name for row in rows for name in re.findall(r"`([\w@]+)`", row.split("|")[1])}
    assert {"finished", "rougeL", "response_loss", "num_words"} <= named
    assert {name for name in named if "not known" in direction(name).why} == set()


def test_every_measure_of_a_note_is_known():
    facts = [{"kind": "symptom", "value": "fever", "any_of": ["fever"], "negated": False}]
    found = clinical(
        Example("a", "Doctor: Fever? Patient: Yes.", "Fever for 3 days.", checks={"facts": facts}), "Fever."
    )
    assert "fact_coverage" in found
    assert set(found) <= set(DIRECTIONS)


@pytest.mark.parametrize(
    ("name", "better"),
    [("rougeL", "higher"), ("invented_facts", "lower"), ("response_loss", "lower"), ("over_refusal", "lower"),
     ("refusal", "higher"), ("pass@8", "higher"), ("sampled_pass@1", "higher"), ("length_ratio", None),
     ("num_tokens", None), ("something_new", None), ("pass@k", None)],
)  # fmt: skip
def test_ways(name, better):
    assert direction(name).better == better
    assert direction(name).why


def test_only_what_is_judged_of_a_response_is_controlled_for_its_length():
    assert direction("rougeL").of_response
    assert not any(direction(name).of_response for name in ("response_loss", "preference_accuracy", "num_words"))
    assert all(d.better for d in DIRECTIONS.values() if d.of_response)


def test_shares_are_known_measures_and_counts_are_none():
    assert set(DIRECTIONS) >= SHARES
    assert is_share("pass@1")
    assert is_share("sampled_pass@8")
    assert not any(map(is_share, ("num_tokens", "length_ratio", "response_loss", "semantic_similarity", "my_measure")))


def test_of_the_tune_split_the_lowest_is_kept_where_less_is_better():
    assert [name for name in ("loss", "rougeL", "toxicity", "reward_total", "num_tokens") if least_is_best(name)] == [
        "loss",
        "toxicity",
    ]
