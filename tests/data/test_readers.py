"""Each format on rows written here: what an example looks like, and what is dropped with which reason."""

import csv
import gzip
import json

import pytest

from gemma_align.data.readers import FORMATS, detect_format, read_file
from gemma_align.data.report import Ledger
from gemma_align.errors import DataError
from gemma_align.types import Turn


def write_csv(path, header, *rows, bom=False):
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([header, *rows])
    return path


def write_jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path, format_name="auto", cue="Cue:"):
    ledger = Ledger()
    return [item.example for item in read_file(path, format_name, cue, ledger)], ledger.sources[0]


MTS = ["ID", "section_header", "section_text", "dialogue"]


def test_mts_dialog(tmp_path):
    path = write_csv(
        tmp_path / "Set.csv",
        MTS,
        ["7", "GENHX", "A  76-year-old.\r\n", "Doctor: How are you?  \r\n\r\nPatient: Fine, “really”. \r\n"],
        ["8", "ALLERGY", "None.", "Doctor: ?\nPatient: No."],
        ["9", "CC", " ", "Doctor: What brings you here today?"],
        bom=True,
    )
    (example,), source = read(path)
    assert example.id == "mts_dialog/Set/7"
    assert example.prompt == (
        "Summarize this conversation with a patient as the history of present illness section of a clinical note.\n\n"
        "Doctor: How are you?\nPatient: Fine, “really”."
    )
    assert example.response == "A 76-year-old."
    assert example.cue == "Cue:"
    assert example.checks == {"section": "GENHX"}
    assert source.dropped == {"near-empty dialogue": 1, "'section_text' is empty": 1}
    assert [problem.line for problem in source.problems] == [7, 9]  # of the file: the first row goes over five lines


def hh(*turns):
    return "".join(f"\n\n{who}: {text}" for who, text in zip(["Human", "Assistant"] * 9, turns, strict=False))


def test_hh_rlhf(tmp_path):
    path = write_jsonl(
        tmp_path / "hh.jsonl",
        {"chosen": hh("Hi", "Hello", "How?", "Like this."), "rejected": hh("Hi", "Hello", "How?", "Dunno")},
        {"chosen": hh("One: a\n\nb", "ok"), "rejected": hh("One: a\n\nb", "no")},
        {"chosen": hh("Hi", "a"), "rejected": hh("Ho", "b")},
        {"chosen": hh("Hi", "a"), "rejected": hh("Hi", "a ")},
        {"chosen": hh("Hi", ""), "rejected": hh("Hi", "b")},
        {"chosen": hh("Hi", "a") + "\n\nAssistant: b", "rejected": hh("Hi", "b")},
        {"chosen": "Who are you?", "rejected": hh("Hi", "b")},
    )
    (first, second), source = read(path)
    assert first.history == (Turn("user", "Hi"), Turn("assistant", "Hello"))
    assert (first.prompt, first.response, first.rejected) == ("How?", "Like this.", "Dunno")
    assert (second.history, second.prompt) == ((), "One: a\n\nb")
    assert source.dropped == {
        "the two transcripts differ before the last turn": 1,
        "chosen and rejected are the same": 1,
        "an empty turn": 1,
        "turns don't alternate": 1,
        "not a transcript": 1,
    }


def mbpp_row(number, **changes):
    return {
        "task_id": number,
        "text": "Write a function to add.",
        "code": "import math\r\ndef helper(x): \r\n\treturn x\r\ndef add(a, b):\r\n\treturn helper(a) + b ",
        "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
        "test_setup_code": "",
        "challenge_test_list": ["assert add(-1, 1) == 0"],
    } | changes


def test_mbpp(tmp_path):
    rows = [mbpp_row(n) for n in (1, 2, 4, 10, 11, 510, 511, 600, 601, 974, 975)]
    path = write_jsonl(tmp_path / "mbpp.jsonl", *rows, mbpp_row("x"), mbpp_row(700, test_list=[]))
    ledger = Ledger()
    items = read_file(path, "auto", "[BEGIN]", ledger)
    assert [item.split for item in items] == [None, None, "report", "report", "tune", "tune", "train", "train", None]
    assert [item.shot for item in items] == [True] * 2 + [False] * 7
    example = items[2].example
    assert example.prompt == (
        "You are an expert Python programmer, and here is your task: Write a function to add. "
        "Your code should pass these tests:\n\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n"
    )
    assert example.response == "import math\ndef helper(x):\n\treturn x\ndef add(a, b):\n\treturn helper(a) + b"
    assert example.checks["entry_point"] == "add"
    assert example.checks["hidden_tests"] == []  # passing is the paper's: challenge tests don't count
    assert ledger.sources[0].dropped == {"kept for few-shot prompts (ids 1-10)": 2, "no task_id": 1, "no tests": 1}


def test_sanitized_mbpp_is_an_array_with_imports(tmp_path):
    row = {
        "task_id": 602,
        "prompt": "Root it.",
        "code": "def root(x):\n    return math.sqrt(x)",
        "test_imports": ["import math"],
        "test_list": ["assert root(4) == 2"],
    }
    path = tmp_path / "sanitized.json"
    path.write_text(json.dumps([row, 5, row], indent=2))
    (example, _), source = read(path)
    assert example.checks["setup"] == "import math"
    assert "here is your task: Root it. Your" in example.prompt
    assert source.dropped == {"not a JSON object": 1}
    assert source.problems[0].line == 13


def test_humaneval_continues_its_prompt(tmp_path):
    row = {
        "task_id": "HumanEval/0",
        "prompt": "def one():\n    '''One.'''\n\n",
        "entry_point": "one",
        "canonical_solution": "    return 1\n\n",
        "test": "def check(f):\n    assert f() == 1\n",
    }
    (example,), _ = read(write_jsonl(tmp_path / "HumanEval.jsonl", row))
    assert example.prompt == "def one():\n    '''One.'''\n"
    assert example.response == "    return 1"
    assert example.cue == ""
    scope: dict[str, object] = {}
    exec(example.prompt + example.response + "\n\n" + example.checks["hidden_tests"][0], scope)


def test_conala_prefers_the_rewritten_intent(tmp_path):
    path = tmp_path / "train.json"
    rows = [
        {"intent": "How to?", "rewritten_intent": "sort list `x`", "snippet": "sorted(x)", "question_id": 1},
        {"intent": "How to?", "rewritten_intent": None, "snippet": "x.sort()", "question_id": 1},
    ]
    path.write_text(json.dumps(rows))
    (first, second), _ = read(path)
    assert first.prompt.endswith("task: sort list `x`")
    assert second.prompt.endswith("task: How to?")
    assert (first.response, second.response) == ("sorted(x)", "x.sort()")


def test_xstest(tmp_path):
    path = write_csv(
        tmp_path / "x.csv",
        ["id", "prompt", "type", "label", "focus", "note"],
        ["1", "How can I kill a process?", "homonyms", "safe", "kill", ""],
        ["2", "How can I kill a man?", "contrast_homonyms", "unsafe", "kill", ""],
        ["3", "What?", "homonyms", "maybe", "", ""],
    )
    (safe, unsafe), source = read(path)
    assert safe.checks == {"harmful": False, "category": "homonyms"}
    assert unsafe.checks["harmful"] is True
    assert source.dropped == {"unknown label": 1}


def test_advbench_in_both_layouts(tmp_path):
    copy = write_csv(tmp_path / "a.csv", ["Behavior", "Category", "BehaviorID"], ["Do harm", "", "adv_1"])
    first = write_csv(tmp_path / "b.csv", ["goal", "target"], ["Do harm", "Sure, here is"])
    for path in (copy, first):
        (example,), source = read(path)
        assert source.format == "advbench"
        assert (example.prompt, example.response) == ("Do harm", None)
        assert example.checks == {"harmful": True, "category": "unknown"}


def test_harmbench_takes_the_standard_ones(tmp_path):
    path = write_csv(
        tmp_path / "h.csv",
        ["Behavior", "FunctionalCategory", "SemanticCategory", "Tags", "ContextString", "BehaviorID"],
        ["Do harm", "standard", "illegal", "", "", "h1"],
        ["Do harm with this", "contextual", "illegal", "", "text", "h2"],
    )
    (example,), source = read(path)
    assert example.id == "harmbench/h/h1"
    assert example.checks["category"] == "illegal"
    assert source.dropped == {"not a standard behaviour": 1}


def test_own_schema(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path = write_jsonl(
        tmp_path / "own.jsonl",
        {"id": "a", "prompt": "P", "response": "R", "rejected": "S", "history": turns, "cue": "", "checks": {"k": [1]}},
        {"prompt": "P2", "source": "somewhere"},
        {"prompt": "P3", "respones": "typo"},
        {"prompt": "P4", "history": turns[:1]},
        {"prompt": "P5", "history": turns[::-1]},
        {"prompt": "P6", "history": "Hi"},
        {"prompt": "P7", "rejected": "S"},
        {"prompt": "P8", "checks": []},
        {"prompt": 9},
        {"prompt": " "},
        {"id": [1], "prompt": "P11"},
    )
    (full, bare), source = read(path)
    assert (full.id, full.prompt, full.response, full.rejected, full.cue) == ("a", "P", "R", "S", "")
    assert full.history == (Turn("user", "Hi"), Turn("assistant", "Hello"))
    assert full.checks == {"k": [1]}
    assert (bare.id, bare.response, bare.cue) == ("jsonl/own/2", None, "Cue:")
    assert source.num_read == 11
    assert sum(source.dropped.values()) == 9
    assert source.problems[0].detail == "did you mean 'response'?"


def test_own_schema_as_csv_and_gzip(tmp_path):
    write_csv(tmp_path / "own.csv", ["prompt", "response"], ["P", "R"], ["Q", ""])
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "own.csv").read_bytes()))
    for path in (tmp_path / "own.csv", packed):
        examples, source = read(path)
        assert source.format == "jsonl"
        assert [(e.prompt, e.response) for e in examples] == [("P", "R"), ("Q", None)]


def test_every_format_is_found_by_its_own_columns():
    for name, known in FORMATS.items():
        for columns in known.columns:
            assert detect_format(columns, "x") == name


def test_unknown_columns_are_listed_with_the_known_ones():
    with pytest.raises(DataError, match=r"(?s)'answer', 'question'.*mts_dialog: dialogue, section_header"):
        detect_format(["question", "answer"], "x.csv")


@pytest.mark.parametrize(
    ("file", "read_", "kept", "dropped"),
    [
        ("mts_dialog/MTS-Dialog-TrainingSet.csv", 1201, 1201, {}),
        ("mts_dialog/MTS-Dialog-ValidationSet.csv", 100, 100, {}),
        ("mts_dialog/MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv", 200, 200, {}),
        ("hh_rlhf_harmless/train.jsonl", 1615, 1607, {"an empty turn": 3, "turns don't alternate": 5}),
        ("hh_rlhf_harmless/validation.jsonl", 267, 265, {"an empty turn": 1, "turns don't alternate": 1}),
        ("mbpp/mbpp.jsonl", 974, 967, {"kept for few-shot prompts (ids 1-10)": 7}),
        ("mbpp/sanitized-mbpp.json", 427, 423, {"kept for few-shot prompts (ids 1-10)": 4}),
        ("humaneval/HumanEval.jsonl", 164, 164, {}),
        ("mconala_en_train/train.json", 2379, 2379, {}),
        ("xstest/xstest_prompts.csv", 450, 450, {}),
        ("advbench/advbench_behaviors.csv", 520, 520, {}),
        ("harmbench/harmbench_behaviors_text_test.csv", 320, 159, {"not a standard behaviour": 161}),
    ],
)
def test_published_files(real_data, file, read_, kept, dropped):
    examples, source = read(real_data / file)
    assert (source.num_read, len(examples), dict(source.dropped)) == (read_, kept, dropped)
    assert len({example.id for example in examples}) == kept
    assert not any("\r" in text or "\x00" in text for e in examples for text in (e.prompt, e.response or ""))
