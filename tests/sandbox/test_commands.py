"""`gemma-align sandbox`, in a process of its own: what people see, and that mistakes cost nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gemma_align import cli

HEAD = 'def f(x):\n    """One more."""\n'
CHECK = "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 3"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def _call(*argv: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(["sandbox", *argv])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return _call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def _write(*lines: object) -> str:
        path = tmp_path / "programs.jsonl"
        path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + "\n", encoding="utf-8")
        return str(path)

    return _write


def test_check(call):
    status, out, _ = call("check")
    assert status == 0
    first, *rest = out.splitlines()
    assert first.startswith("layers: seccomp")
    assert len(rest) == 12
    assert all(line.startswith("ok ") for line in rest)
    assert "can't open a file" in out


def test_check_where_nothing_can_be_confined(call, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    status, out, err = call("check")
    assert (status, out) == (2, "")
    assert "Linux only" in err
    assert "Traceback" not in err


def test_check_without_a_layer(call):
    status, out, _ = call("check", "--without", "seccomp")
    assert status == 0
    assert "BAD a program could look at a file" in out


def test_grade(call, write):
    asserts = ["assert f(1) == 2", "assert f(2) == 3"]
    path = write(
        {"id": "continued", "prompt": HEAD, "response": "    return x + 1", "tests": CHECK, "entry_point": "f"},
        {
            "id": "fenced",
            "prompt": "Write f.",
            "response": "```python\ndef f(x):\n    return x + 1\n```",
            "tests": asserts,
        },
        "",
        {"id": 3, "prompt": "", "response": "def f(x):\n    return 2", "tests": asserts, "entry_point": "f", "more": 1},
        {"id": "broken", "response": "def f(", "tests": asserts},
        {"id": "hangs", "response": "def f(x):\n    while True:\n        pass", "tests": asserts},
        {"id": "numpy", "response": "x = 1", "tests": ["import numpy"]},
        {"id": "prints", "response": "print('{\"passed\": true}')", "tests": asserts},
    )
    status, out, err = call("grade", path, "--cpu-seconds", "1", "--workers", "2")
    assert status == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["id"] for row in rows] == ["continued", "fenced", "3", "broken", "hangs", "numpy", "prints"]
    assert [row["passed"] for row in rows] == [True, True, False, False, False, None, False]
    assert [row["ran"] for row in rows] == [True, True, True, False, True, True, True]
    assert [row["timeout"] for row in rows] == [False, False, False, False, True, False, False]
    assert [bool(row["unsupported"]) for row in rows] == [False] * 5 + [True, False]
    assert "numpy" in rows[5]["unsupported"]
    assert rows[2]["tests"] == [True, False]
    assert "SyntaxError" in rows[3]["error"]
    assert "seccomp" in rows[0]["layers"]


GOOD = {"id": "a", "response": "x = 1", "tests": ["assert x"]}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Expecting property name"),
        ("[]", "dictionary"),
        ({**GOOD, "tests": []}, "tests"),
        ({**GOOD, "tests": [1]}, "tests"),
        ({**GOOD, "tests": CHECK}, "entry_point: wanted"),
        ({**GOOD, "response": None}, "response"),
        ({"id": "a", "tests": ["x"]}, "response: Field required"),
        ({**GOOD, "entry_point": "os.system"}, "entry_point: a name was wanted, given 'os.system'"),
        ("[" * 100_000, "line 2"),
    ],
)
def test_a_malformed_line_is_told_and_nothing_graded(line, why, call, write):
    path = write(GOOD, line)
    status, out, err = call("grade", path)
    assert (status, out) == (2, "")
    assert f"{path}, line 2" in err
    assert why in err


def test_files_that_are_none(call, tmp_path, write):
    status, _, err = call("grade", str(tmp_path / "none.jsonl"))
    assert status == 2
    assert "No such file" in err
    (tmp_path / "latin.jsonl").write_bytes(b"\xe9\n")
    assert "UTF-8 was wanted" in call("grade", str(tmp_path / "latin.jsonl"))[2]
    assert "no lines" in call("grade", write(""))[2]


def test_a_layer_that_is_none(call, write):
    status, _, err = call("grade", write(GOOD), "--without", "walls")
    assert status == 2
    assert "seccomp" in err


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['gemma-align', 'sandbox', '--help']\nfrom gemma_align import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'pyseccomp', 'sacrebleu'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_grading_needs_no_torch(tmp_path, write):
    """Programs can be graded in half a second, whatever else the package does."""
    path = write(GOOD)
    code = (
        f"import sys\nsys.argv = ['gemma-align', 'sandbox', 'grade', {path!r}]\nfrom gemma_align import cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert json.loads(done.stdout.splitlines()[0])["passed"] is True
