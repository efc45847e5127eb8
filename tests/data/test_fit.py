import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_align.data.templates import fit
from gemma_align.errors import DataError


def test_what_fits_stays():
    fitted = fit(range(5), range(3), 8)
    assert (fitted.prompt_ids, fitted.response_ids, fitted.was_cut) == ((0, 1, 2, 3, 4), (0, 1, 2), False)


def test_the_middle_of_the_prompt_gives_way_first():
    fitted = fit(range(100), range(200, 210), 50)
    assert fitted.prompt_ids == (*range(10), *range(70, 100))  # a quarter of 40 from the start, the rest from the end
    assert fitted.response_ids == tuple(range(200, 210))
    assert (fitted.prompt_cut, fitted.response_cut) == (60, 0)


def test_the_response_is_cut_last():
    fitted = fit(range(100), range(200, 260), 40)
    assert fitted.prompt_ids == (0, 1, *range(92, 100))  # a quarter of 40 is left to the prompt
    assert fitted.response_ids == tuple(range(200, 230))
    assert (fitted.prompt_cut, fitted.response_cut) == (90, 30)


def test_a_short_prompt_before_a_long_response_stays_whole():
    fitted = fit(range(6), range(200, 300), 40)
    assert fitted.prompt_ids == tuple(range(6))
    assert fitted.response_ids == tuple(range(200, 234))


def test_refusals_name_the_example():
    with pytest.raises(DataError, match="'note 7' has 100 \\+ 10 tokens"):
        fit(range(100), range(10), 50, example_id="note 7", refuse=True)
    with pytest.raises(DataError, match="at most 7"):
        fit(range(100), range(10), 7)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(8, 200))
def test_always_fits_keeps_bos_and_cue_and_counts(prompt, response, limit):
    fitted = fit(range(prompt), range(1000, 1000 + response), limit)
    kept = len(fitted.prompt_ids) + len(fitted.response_ids)
    assert kept == min(limit, prompt + response)
    assert fitted.prompt_ids[0] == 0
    assert fitted.prompt_ids[-1] == prompt - 1
    assert list(fitted.prompt_ids) == sorted(set(fitted.prompt_ids))
    assert kept + fitted.prompt_cut + fitted.response_cut == prompt + response
    assert fitted.response_ids == tuple(range(1000, 1000 + len(fitted.response_ids)))
