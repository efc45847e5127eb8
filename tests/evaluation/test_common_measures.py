"""Measures of every task, with literal results."""

import pytest

from gemma_align.evaluation.common import is_empty, measure, repeated, words
from gemma_align.types import Example


def example(response=None):
    return Example(id="a", prompt="Say it.", response=response)


def test_all_measures_by_hand():
    # 7 words; pairs: ab bc ca ab bc cd -> 4 different of 6; four-grams: abca bcab cabc abcd -> none repeated
    assert measure(example("a b c d e f g h i j k l m n"), "a b c a b c d") == pytest.approx(
        {"num_words": 7, "empty": 0, "repetition": 0, "distinct_2": 4 / 6, "length_ratio": 0.5, "exact_match": 0}
    )


def test_a_loop_repeats():
    # 12 words, 9 four-grams, 3 different
    assert measure(example(), "no pain today " * 4)["repetition"] == pytest.approx(6 / 9)
    assert repeated(["x"] * 103, 4) == pytest.approx(0.99)


def test_undefined_measures_have_no_key():
    assert set(measure(example(), "")) == {"num_words", "empty", "repetition"}
    assert set(measure(example(), "word")) == {"num_words", "empty", "repetition"}
    assert "length_ratio" not in measure(example(" \n"), "word")


@pytest.mark.parametrize("text", ["", "  \n\t", "\u200b\u200d\ufeff", "\x00\x1b", "\u00a0\u3000"])
def test_nothing_visible_is_empty(text):
    assert is_empty(text)
    assert measure(example("x"), text)["empty"] == 1.0


@pytest.mark.parametrize("text", [".", "0", "痛", "🙂", "\u200bx"])
def test_anything_visible_is_not_empty(text):
    assert not is_empty(text)


def test_exact_match_forgives_white_space_and_composition_only():
    assert measure(example("No  café\nvisits."), " No cafe\u0301 visits. ")["exact_match"] == 1.0
    assert measure(example("No visits."), "no visits.")["exact_match"] == 0.0
    assert measure(example("No visits."), "No visits")["exact_match"] == 0.0


def test_words_ignore_case():
    assert words("STRASSE Straße") == ["strasse", "strasse"]
