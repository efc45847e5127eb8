"""Corrupted notes: one place changed, by hand and for whatever text."""

import difflib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.data.pairs.notes import _CHANGES, _DENIALS, KINDS, corruptions


def changed(kind: str, note: str, seed: int = 0) -> set[str]:
    """All texts that a kind of corruption may give."""
    return {note[:a] + text + note[b:] for a, b, text in _CHANGES[kind](note, Random(seed))}


@pytest.mark.parametrize(
    ("kind", "note", "one_of"),
    [
        ("dose", "Takes 20 mg daily.", {f"Takes {n} mg daily." for n in ("200", "40", "10", "100", "2")}),
        ("dose", "Takes 2.5mg.", {f"Takes {n}mg." for n in ("25", "5", "1.25", "12.5", "0.25")}),
        ("number", "A 50-year-old.", {f"A {n}-year-old." for n in range(40, 61) if n != 50}),
        ("number", "Since 1994.", {f"Since {n}." for n in range(1982, 2007) if n != 1994}),
        ("unit", "For 3 weeks.", {f"For 3 {unit}." for unit in ("hours", "days", "months", "years")}),
        ("negation", "He denies fever.", {"He reports fever."}),
        ("negation", "No fever.", {"Has fever."}),
        ("negation", "He has fever.", {"He has no fever.", "He does not have fever.", "He has not fever."}),
        ("side", "Left arm.", {"right arm."}),
        ("relative", "His aunt.", {f"His {w}." for w in ("mother", "father", "brother", "sister", "uncle", "son")}),
    ],
)
def test_each_kind_by_hand(kind: str, note: str, one_of: set[str]) -> None:
    found = set().union(*(changed(kind, note, seed) for seed in range(8)))
    assert found
    assert found <= one_of or (kind == "relative" and found & one_of)


def test_list_marks_and_doses_are_no_numbers_and_articles_stay() -> None:
    assert changed("number", "1. Fever. 2. Cough. Takes 20 mg.") == set()
    assert changed("negation", "She is a nurse. She presents with pain.") == set()


def test_capitals_are_kept() -> None:
    (one,) = corruptions("Denies rash.", 0)[:1]
    texts = {c.kind: c.text for seed in range(20) for c in corruptions("Denies rash.", seed)}
    assert one.text != "Denies rash."
    assert texts["negation"] == "Reports rash."


def test_nothing_to_corrupt_gives_nothing() -> None:
    assert corruptions("Noted.", 0) == []
    assert corruptions("", 0) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(0, 5))
def test_a_corruption_differs_in_one_place_and_depends_on_the_seed_alone(index: int, seed: int) -> None:
    note = clinical_example(0, "train", index).response or ""
    found = corruptions(note, seed)
    assert found == corruptions(note, seed)
    assert found, "every builtin note has something to corrupt"
    assert len({c.kind for c in found}) == len(found)
    for corruption in found:
        assert corruption.kind in KINDS
        assert corruption.text != note
        before = len(note) - len(note.lstrip())
        start = next(i for i in range(len(note) + 1) if note[: i + 1] != corruption.text[: i + 1])
        end = next(i for i in range(len(note) + 1) if note[len(note) - i - 1 :] != corruption.text[-i - 1 :])
        assert start >= before
        assert len(note) - end - start < 40  # one word, name or number
    assert difflib.SequenceMatcher(None, note, found[0].text, autojunk=False).ratio() > 0.5


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("No has denies 3 mg 12/05, left\nweeks. Son"), max_size=80))
def test_any_text_is_survived_and_really_changed(note: str) -> None:
    assert all(corruption.text != note for corruption in corruptions(note, 1))


def test_denials_name_two_different_things() -> None:
    assert all(one != other for one, other in _DENIALS)
