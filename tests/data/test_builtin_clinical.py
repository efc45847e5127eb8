"""Builtin visits: what the facts say, the note says and the dialogue said."""

import re
import subprocess
import sys

import pytest

from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.data.builtin.spoken import say, say_pressure, say_year
from gemma_align.data.splits import fingerprint
from gemma_align.evaluation.facts import check

NUMBER = re.compile(r"(?<![\w.])(?<!COVID-)\d+(?:\.\d+)?")  # not those of names such as O2


@pytest.fixture(scope="module")
def visits():
    return [clinical_example(0, split, i) for split in ("train", "tune", "report") for i in range(120)]


def says(text, form):
    return re.search(rf"(?<!\w){re.escape(form.lower())}(?!\w)", text.lower()) is not None


def test_the_reference_states_every_fact_and_no_distractor(visits):
    kinds = set()
    for example in visits:
        for fact in example.checks["facts"]:
            kinds.add((fact["kind"], fact["negated"]))
            assert fact["value"] in fact["any_of"]
            assert any(says(example.response, form) for form in fact["any_of"]), (fact["value"], example.response)
        for fact in example.checks["distractors"]:
            assert not any(says(example.response, form) for form in fact["any_of"]), example.response
    assert kinds >= {
        ("age", False),
        ("sex", False),
        ("medication", False),
        ("medication", True),
        ("allergy", False),
        ("allergy", True),
        ("symptom", False),
        ("symptom", True),
        ("condition", True),
        ("vital", False),
        ("family", False),
        ("follow_up", False),
        ("immunization", True),
        ("surgery", False),
    }


def test_references_are_right_by_the_evaluation_as_well(visits):
    """Polarity included; and nothing comes from nowhere, even without the reference to support it."""
    for example in visits:
        found = check(
            example.response,
            example.checks["facts"],
            dialogue=example.prompt,
            distractors=example.checks["distractors"],
        )
        assert all(found.covered), (example.response, found)
        assert not found.invented, (example.response, found)


def test_every_number_of_a_note_was_said(visits):
    for example in visits:
        said = example.prompt.lower()
        note = re.sub(r"(?:(?<=^)|(?<=\. ))\d\. ", "", example.response)  # without the numbers of a list
        for text in NUMBER.findall(note):
            number = float(text)
            ways = [text, say(number)]
            if number == int(number):
                ways.append(say_pressure(int(number)) if number < 1000 else say_year(int(number)))
            else:
                ways.append(f"{say_pressure(int(number))} point {say(int(text.split('.')[1][0]))}")
            if text == "10":
                ways += ["one to ten", "out of ten"]
            assert any(says(said, way) for way in ways), (text, example.prompt, example.response)


def test_dialogues_alternate_and_have_the_promised_size(visits):
    lengths, notes = [], []
    for example in visits:
        instruction, dialogue = example.prompt.split("\n\n", 1)
        assert instruction.startswith("Summarize this conversation")
        lines = dialogue.split("\n")
        assert all(re.match(r"(Doctor|Patient): [A-Z0-9].*[.?!]$", line) for line in lines), dialogue
        assert len(lines) >= 5
        lengths.append(len(dialogue.split()))
        notes.append(len(example.response.split()))
        assert "  " not in example.prompt
        assert re.match(r"[A-Z0-9]", example.response)
        assert example.response.endswith(".")
        assert ".." not in example.response
    assert min(lengths) >= 40
    assert max(lengths) <= 220
    assert min(notes) >= 8
    assert max(notes) <= 65
    assert 80 <= sum(lengths) / len(lengths) <= 140
    assert 20 <= sum(notes) / len(notes) <= 40


def test_patients_are_possible(visits):
    for example in visits:
        text = f"{example.prompt} {example.response}".lower()
        patient = "\n".join(line for line in text.split("\n") if "family" not in line and "my " not in line)
        if "ms. " in text and example.checks["section"] != "FAM/SOCHX":
            assert "prostate" not in patient
        if "mr. " in text and example.checks["section"] != "FAM/SOCHX":
            assert "hysterectomy" not in patient
            assert "c section" not in patient
        for fact in example.checks["facts"]:
            assert fact["kind"] != "year" or 1950 <= int(fact["value"]) <= 2024


def test_no_two_visits_are_alike():
    many = [clinical_example(0, "train", i) for i in range(600)]
    assert len({example.prompt for example in many}) == 600
    assert len({example.response for example in many}) >= 595
    assert len({example.checks["section"] for example in many}) == 10


def test_an_example_depends_on_seed_split_and_index_only():
    """Not on what was made before, and not on the process."""
    alone = clinical_example(0, "tune", 17)
    assert [clinical_example(0, "tune", i) for i in range(18)][17] == alone
    assert clinical_example(1, "tune", 17) != alone
    code = (
        "from gemma_align.data.builtin.clinical import clinical_example as e\n"
        "from gemma_align.data.splits import fingerprint\n"
        "print(fingerprint([e(0, s, i) for s in ('train', 'tune', 'report') for i in range(30)]))"
    )
    path = [p for p in sys.path if p.endswith("src")]
    other = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "12345", "PATH": ""},
    )
    here = [clinical_example(0, split, i) for split in ("train", "tune", "report") for i in range(30)]
    assert other.stdout.strip() == fingerprint(here)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (76, "seventy six"),
        (500, "five hundred"),
        (325, "three hundred twenty five"),
        (1000, "one thousand"),
        (2.5, "two point five"),
        (0.4, "zero point four"),
        (6.25, "six point two five"),
    ],
)
def test_say(number, words):
    assert say(number) == words


def test_say_years_and_pressures():
    assert [say_year(y) for y in (1998, 2000, 2008, 2015)] == [
        "nineteen ninety eight",
        "two thousand",
        "two thousand eight",
        "twenty fifteen",
    ]
    assert [say_pressure(p) for p in (85, 100, 104, 138)] == [
        "eighty five",
        "one hundred",
        "one oh four",
        "one thirty eight",
    ]
