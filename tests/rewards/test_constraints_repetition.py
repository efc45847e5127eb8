"""Repetition: hand-computed amounts, loops in every disguise, and what must not fire."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_align.rewards.constraints.base import Measure, verdict
from gemma_align.rewards.constraints.limits import TASK_LIMITS
from gemma_align.rewards.constraints.repetition import repetition

PROSE, CODE = TASK_LIMITS["clinical"].repetition, TASK_LIMITS["code"].repetition


def measures(text: str, limits=PROSE) -> dict[str, Measure]:
    return {measure.name: measure for measure in repetition(text, limits)}


def fired(text: str, limits=PROSE) -> bool:
    return verdict(repetition(text, limits), 1.0, None).fired


NOTE = (
    "The patient is a 54-year-old man who reports chest pain since Monday. It is worse on climbing stairs and goes "
    "away with rest. He takes lisinopril 10 mg daily and has no allergies."
)

LOOPS = {
    "words": "no no no no no no",
    "words across lines": "no\nno,\n\n No!\tno NO\nno",
    "a phrase": "call the doctor " * 3,
    "a phrase in other spelling": "Call the doctor. call  the DOCTOR!\n- call, the doctor",
    "lines": "I don't know that.\n" * 5,
    "numbered lines": "\n".join(f"{i}. Take one tablet." for i in range(1, 6)),
    "numbers inside": " ".join(f"On day {i} he felt well." for i in range(1, 6)),
    "two lines in turn": "Yes, I do.\nNo, I don't.\n" * 4,
    "cut in the middle": "He was seen in clinic. " * 3 + "He was se",
    "after an honest start": NOTE + " he is fine he is fine he is fine he is fine",
    "before an honest end": "he is fine he is fine he is fine he is fine. " + NOTE,
    "one letter": "aaaaaaaa",
    "one letter in a word": "sooooooooo good",
    "syllables": "hahahaha",
    "syllables in other case": "HaHahAhA",
    "emoji": "👍" * 9,
    "no spaces": "你好吗" * 5,
    "letters apart": "h a h a h a h a",
    "signs": "!" * 30,
    "a paragraph twice": NOTE + "\n\n" + NOTE,
    "each copy in another disguise": "c\u0430ll the doctor c\u200ball the d\u043ector CALL THE DO\u2060CTOR",
    "apostrophes alone": "'" * 30,
    "the same line among others": "He is well today.\nA b c.\nHe is well today.\nD e f.\nHe is well today.\nG h i.",
}


def test_spans_of_a_disguised_loop_are_of_the_text_as_given() -> None:
    start = "Well\u200b, "
    loop = "c\u0430ll the doctor c\u200ball the d\u043ector CALL THE DO\u2060CTOR"
    found = measures(start + loop + " now")["loop"]
    assert found.amount == 6  # two further copies of three words
    assert found.spans == ((len(start), len(start + loop)),)


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_loops_fire(text: str) -> None:
    assert fired(text)


FINE = {
    "empty": "",
    "a note": NOTE,
    "no, no": "No, no, no, please don't.",
    "laughing": "Hahaha, that's funny.",
    "a ruler": "Title\n" + "-" * 20 + "\ntext",
    "numbers": "Readings: 120, 118, 121, 119, 117, 122, 120.",
    "years": "1990 1991 1992 1993 1994 1995 1996",
    "denials": "Denies fever. Denies cough. Denies chest pain. Denies rash.",
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
def test_ordinary_text_does_not_fire(text: str) -> None:
    assert not fired(text)


@pytest.mark.parametrize(
    "code",
    [
        "x = [0, 0, 0, 0, 0, 0, 0, 0]",
        "def f(n):\n    a = 0\n    b = 1\n    for i in range(n):\n        a, b = b, a + b\n    return a",
        "if n == 1:\n    return 'one'\nif n == 2:\n    return 'two'\nif n == 3:\n    return 'three'\n",
        "N = 1000000000",
        "def to_hex(c):\n    return '#ffffff'",
    ],
)
def test_ordinary_code_does_not_fire(code: str) -> None:
    assert not fired(code, CODE)


def test_looping_code_fires() -> None:
    assert fired("x = x + 1\n" * 8, CODE)
    assert fired("    return result\n" * 6 + "    return other_result", CODE) is True
    assert fired("def f():\n    pass\n\n" * 8, CODE)


def test_amounts_by_hand() -> None:
    loop = measures("say a b a b a b a")["loop"]
    assert (loop.amount, loop.severity) == (5, 0.5 + 0.5 * (5 - 4) / (20 - 4))  # 7 words, period 2
    assert loop.spans == ((4, 17),)
    lines = measures("\n".join(["one two three", "x", "One two: three!", "y y", "one two three"]))["lines"]
    assert (lines.amount, lines.severity) == (3, 0.5)
    assert lines.spans == ((0, 13), (16, 31), (36, 49))
    assert lines.reason.startswith("line 1:")
    # 24 words, the first twelve twice: 21 4-grams, 9 of the second half stood in the first.
    text = " ".join([*"abcdefghijkl", *"abcdefghijkl"])
    assert measures(text)["4-grams"].amount == pytest.approx(9 / 21)
    assert measures("oh haHAhaHA")["characters"].amount == 8
    assert measures("oh haHAhaHA")["characters"].spans == ((3, 11),)
    assert measures("....")["signs"].amount == 4


def test_a_worse_loop_costs_more_up_to_the_weight() -> None:
    costs = [verdict(repetition("no " * n, PROSE), 2.0, -3.0).penalty for n in (4, 5, 10, 20, 40, 400)]
    assert costs[0] == 0
    assert costs[1] == -1.0
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == -2.0


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from([PROSE, CODE]))
def test_any_text_can_be_measured(text: str, limits) -> None:
    finding = verdict(repetition(text, limits), 1.0, -3.0)
    assert -1 <= finding.penalty <= 0
    assert finding.fired == (finding.penalty < 0) == bool(finding.reason)
    assert all(0 <= start < end <= len(text) for start, end in finding.spans)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["red", "green", "blue", "seven", "eight", "nine", "ten"]), min_size=2, max_size=6),
    st.lists(st.sampled_from([" ", "\n", ", ", "! ", "  \t", " - ", "\n\n3. "]), min_size=1, max_size=5),
)
def test_a_loop_is_found_however_it_is_spaced(unit: list[str], gaps: list[str]) -> None:
    looped = unit * 6
    text = "".join(word + gaps[i % len(gaps)] for i, word in enumerate(looped))
    numbered = any("3" in gap for gap in gaps)  # a number between may lengthen the period
    assert numbered or measures(text)["loop"].severity > 0
