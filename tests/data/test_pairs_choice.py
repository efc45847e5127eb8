"""Who is chosen, who is rejected, and in which turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_align.data.pairs.choice import SOURCES, Candidate, Pair, choose, deal, pair_example, worst
from gemma_align.types import Example

REFERENCE = Candidate("ref", "reference", 0.5)
SAMPLES = [
    Candidate("a", "sample", 0.9, finished=False),
    Candidate("b", "sample", 0.6),
    Candidate("c", "sample", 0.1),
    Candidate("d", "sample", -0.2),
    Candidate("d ", "sample", -0.2),
    Candidate(" ", "sample", -0.9),
]


def test_the_chosen_text() -> None:
    assert choose(REFERENCE, SAMPLES, best=False) is REFERENCE
    assert choose(None, SAMPLES, best=False) is None
    assert choose(REFERENCE, SAMPLES, best=True) is SAMPLES[1]  # the best one isn't finished
    assert choose(REFERENCE, SAMPLES[2:], best=True) is REFERENCE
    assert choose(None, SAMPLES[2:], best=True) is SAMPLES[2]
    assert choose(None, SAMPLES[5:], best=True) is None
    equal = Candidate("e", "sample", 0.5)
    assert choose(REFERENCE, [equal], best=True) is equal


def test_rejected_samples_score_lower_the_worst_first_each_once() -> None:
    assert [c.text for c in worst(SAMPLES, REFERENCE)] == ["d", "c"]
    assert worst(SAMPLES, Candidate("x", "reference", -0.2)) == []


@pytest.mark.parametrize("num", [1, 2, 3, 4, 9])
def test_sources_take_turns(num: int) -> None:
    rejected = {"corruption": SAMPLES[:1], "samples": SAMPLES[1:4]}
    dealt = [deal(SOURCES, rejected, str(i), num, 0) for i in range(50)]  # type: ignore[arg-type]
    assert {len(d) for d in dealt} == {min(num, 4)}
    firsts = [d[0].text for d in dealt]
    assert 10 < firsts.count("a") < 40  # by a hash of the id
    assert all({"a", "b"} == {c.text for c in d[:2]} for d in dealt if num > 1)
    assert deal(("samples",), rejected, "0", 9, 0) == SAMPLES[1:4]  # type: ignore[arg-type]


@given(st.lists(st.floats(-1, 1)), st.floats(-1, 1))
def test_worst_agrees_with_a_slow_definition(scores: list[float], limit: float) -> None:
    samples = [Candidate(str(i), "sample", score) for i, score in enumerate(scores)]
    found = [c.score for c in worst(samples, Candidate("x", "reference", limit))]
    assert found == sorted(score for score in scores if score < limit)


def test_a_pair_is_an_example_of_its_own() -> None:
    example = Example("7", "p", response="old", cue="c", checks={"k": 1})
    pair = pair_example(Pair(example, REFERENCE, SAMPLES[2], 1))
    assert (pair.id, pair.prompt, pair.response, pair.rejected) == ("7/pair1", "p", "ref", "c")
    assert (pair.cue, pair.checks) == ("c", {"k": 1})
