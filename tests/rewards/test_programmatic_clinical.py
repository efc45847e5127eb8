"""The clinical reward: hand-computed scores, what may never raise it, and how little it shares with evaluation."""

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemma_align.rewards
from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.data.builtin.spoken import say, say_year
from gemma_align.errors import RewardError
from gemma_align.rewards.clinical import ClinicalReward
from gemma_align.rewards.facts.claims import claims
from gemma_align.rewards.facts.dialogue import heard_in
from gemma_align.rewards.facts.words import read
from gemma_align.types import Answer, Example

FACTS = [
    {"kind": "age", "value": "76-year-old", "any_of": ["76-year-old", "76 years old"], "negated": False},
    {"kind": "condition", "value": "hypertension", "any_of": ["hypertension", "high blood pressure"], "negated": False},
    {"kind": "symptom", "value": "chest pain", "any_of": ["chest pain"], "negated": True},
    {"kind": "medication", "value": "metformin 500 mg", "any_of": ["metformin 500 mg"], "negated": False},
]
STRAY = [{"kind": "miles", "value": "40 miles", "any_of": ["40 miles"], "negated": False}]
DIALOGUE = (
    "Summarize this.\n\nDoctor: How old are you, and how was the drive?\nPatient: Seventy six, it was forty miles.\n"
    "Doctor: Any chest pain?\nPatient: No.\nDoctor: Do you have high blood pressure?\nPatient: Yes.\n"
    "Patient: I take metformin five hundred milligrams."
)
VISIT = Example("visit", DIALOGUE, checks={"facts": FACTS, "distractors": STRAY})
SPOKEN = Example("spoken", DIALOGUE)
GOOD = "A 76-year-old man with hypertension. He denies chest pain. Takes metformin 500 mg."


def total(text: str, example: Example = VISIT, **kwargs: float) -> float:
    return float(ClinicalReward(**kwargs).score([example], [Answer(text)]).total[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "covered", "invented"),
    [
        (GOOD, 4, 0),
        ("", 0, 0),
        ("He is 76 years old.", 1, 0),
        ("He is seventy six years old.", 1, 0),
        ("Hypertension, hypertension, high blood pressure.", 1, 0),  # once, however often
        ("He reports chest pain.", 0, 1),  # turned round
        ("No hypertension.", 0, 1),
        ("Hypertension. Denies hypertension.", 0, 1),  # both ways is neither
        ("Chest pain: denied.", 1, 0),
        ("No fever, but chest pain.", 0, 2),  # a fever was never spoken of
        ("Metformin 850 mg.", 0, 1),
        ("Metformin XR 500 mg.", 1, 0),
        ("He drove 40 miles.", 0, 1),  # said, and still no fact
        ("Asthma and asthma.", 0, 1),
        ("2. Hypertension", 1, 0),
    ],
)
def test_covered_minus_invented_by_hand(text: str, covered: int, invented: int) -> None:
    scores = ClinicalReward().score([VISIT], [Answer(text)])
    assert float(scores.parts["covered"][0]) == covered / 4
    assert float(scores.parts["invented"][0]) == invented / 4
    assert float(scores.total[0]) == (covered - invented) / 4
    assert total(text, invented_weight=2.0) == (covered - 2 * invented) / 4


def test_the_total_stays_above_minus_one() -> None:
    assert total("Asthma, gout, lupus, migraine, polio, stroke.") == -1.0


def test_spans_point_at_what_was_found() -> None:
    text = "Denies chest pain. Has asthma."
    found = ClinicalReward().check(VISIT, text)
    assert [(text[s.start : s.end], s.what) for s in found.covered] == [("chest pain", "chest pain (denied)")]
    assert [(text[s.start : s.end], s.what) for s in found.invented] == [("asthma", "asthma: unsupported")]


@pytest.mark.parametrize(
    ("text", "covered", "invented"),
    [
        (GOOD, 5, 0),  # 76 without a unit is no fact of the dialogue; 40 miles has a unit that isn't known
        ("No chest pain.", 1, 0),
        ("Chest pain.", 0, 1),
        ("Hypertension.", 1, 0),  # the same as high blood pressure
        ("76 years old.", 0, 0),
        ("67 years old.", 0, 1),
    ],
)
def test_without_listed_facts_the_dialogue_speaks(text: str, covered: int, invented: int) -> None:
    found = ClinicalReward().check(SPOKEN, text)
    wanted = {"chest pain", "high blood pressure", "metformin", "500 mg"}
    assert found.num_facts == len(wanted)
    assert (len(found.covered), len(found.invented)) == (min(covered, 4), invented)


def test_the_reference_plays_no_part_unless_asked_for() -> None:
    one, other = (Example("x", DIALOGUE, response=note) for note in ("Gout and 3 mg.", "Nothing."))
    assert total("Gout.", one) == total("Gout.", other) == -0.25
    assert total("Gout.", one, use_reference=True) == 0.5
    with pytest.raises(RewardError, match="example spoken has no reference note"):
        total("Gout.", SPOKEN, use_reference=True)


def test_listed_facts_can_be_left_alone() -> None:
    assert total("Metformin 500 mg.", VISIT, use_checks=False) == total("Metformin 500 mg.", SPOKEN) == 0.5


def test_odd_facts_stop_the_run_with_the_example() -> None:
    odd = Example("row 7", DIALOGUE, checks={"facts": [{"value": "no wordings"}]})
    with pytest.raises(RewardError, match="example row 7"):
        total("Anything.", odd)


@pytest.mark.parametrize("number", [2, 14, 20, 21, 99, 100, 105, 110, 138, 342, 500, 1999, 2000, 2005, 0.4, 12.25])
def test_spoken_numbers_are_numbers(number: float) -> None:
    assert read(say(number)).words == (f"{number:g}",)


@given(st.integers(1910, 2029))
def test_spoken_years_are_years(year: int) -> None:
    assert read(say_year(year)).words == (str(year),)


def test_words_keep_their_places() -> None:
    text = "He doesn't smoke twenty five cigarettes; non-smoker."
    words = read(text)
    shown = {word: text[s:e] for word, s, e in zip(words.words, words.start, words.end, strict=True)}
    assert shown["25"] == "twenty five"
    assert shown["cigarette"] == "cigarettes"
    assert [w for w, denied in zip(words.words, words.denied, strict=True) if not denied] == [
        "he",
        "doe",
    ]  # as all plurals


def test_answers_decide_what_questions_claim() -> None:
    heard = heard_in("D: Any cough or fever?\nP: Um, no.\nD: Asthma?\nP: Yes.\nD: Gout?\nP: My toe hurts.")
    assert heard.names == {
        "cough": frozenset({True}),
        "fever": frozenset({True}),
        "asthma": frozenset({False}),
        "gout": frozenset({True, False}),
    }


def test_claims_leave_out_list_marks_and_names_with_digits() -> None:
    assert [(c.value, c.unit) for c in claims("1. Vitamin B12 daily.\n2. O2 sat 98%, 3 out of 10, for two weeks.")] == [
        ("vitamin", ""),
        ("98", "%"),
        ("3/10", ""),
        ("2", "week"),
    ]


def test_builtin_references_are_perfect_and_other_notes_are_not() -> None:
    visits = [clinical_example(0, "train", i) for i in range(60)]
    references = [Answer(visit.response or "") for visit in visits]
    reward = ClinicalReward()
    assert reward.score(visits, references).total.min() == 1.0
    assert reward.score(visits, references[1:] + references[:1]).total.max() < 0.5
    assert (reward.score(visits, [Answer("")] * 60).total == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 200), st.text(max_size=60), st.booleans())
def test_any_text_has_a_bounded_score_and_its_spans_lie_in_it(index: int, text: str, use_checks: bool) -> None:
    visit = clinical_example(3, "train", index)
    note = f"{visit.response} {text}"
    reward = ClinicalReward(use_checks=use_checks)
    assert -1.0 <= float(reward.score([visit], [Answer(note)]).total[0]) <= 1.0
    found = reward.check(visit, note)
    assert len(found.covered) <= found.num_facts
    assert all(0 <= s.start < s.end <= len(note) for s in (*found.covered, *found.invented))


def test_rewards_import_nothing_from_evaluation() -> None:
    folder = Path(gemma_align.rewards.__file__).parent
    imported = [
        (path.name, module)
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert len(imported) > 10
    assert [entry for entry in imported if entry[1].startswith("gemma_align.evaluation")] == []
