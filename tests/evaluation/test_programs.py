"""From response to program: what counts, whatever a model writes around it."""

import pytest

from gemma_align.evaluation.programs import helpers, program
from gemma_align.types import Example

MBPP = Example("1", "Write f.", checks={"tests": ["assert f(1) == 2"], "entry_point": "f"})
HUMANEVAL = Example(
    "2",
    'from math import floor\n\n\ndef f(x):\n    """One more."""\n',
    checks={"continues": True, "entry_point": "f", "hidden_tests": ["def check(c):\n    assert c(1) == 2\n\ncheck(f)"]},
)
CODE = "def f(x):\n    return x + 1"


@pytest.mark.parametrize(
    "response",
    [
        CODE,
        f"\n{CODE}\n[DONE]\nand more",
        f"Here it is:\n```python\n{CODE}\n```\nIt adds one.",
        f"```\n{CODE}",
        f"{CODE}\n\nYou are an expert Python programmer, and here is your task: another",
        f"{CODE}\n\n###\n\nnext",
        f"```PY\n{CODE}\n```\n```python\nprint(1)\n```",
    ],
)
def test_a_whole_program(response):
    assert program(MBPP, response) == CODE


@pytest.mark.parametrize(
    "after", ["", "\n\n\ndef g():\n    pass", "\n\nprint(f(1))", "\n# a test", "\n\nif True:\n    f(1)"]
)
def test_a_continuation_ends_where_the_function_does(after):
    text = program(HUMANEVAL, "    return x + 1" + after)
    assert text.rstrip() == HUMANEVAL.prompt + "    return x + 1"
    scope = {}
    exec(text, scope)
    assert scope["f"](1) == 2


def test_a_continuation_that_defines_the_function_again_stands_alone():
    text = program(HUMANEVAL, f"```python\n{CODE}\n\n\ndef helper():\n    return floor(1)\n```")
    assert text.startswith("from math import floor\ndef f(x):")
    assert text.count("def f(") == 1
    assert "helper" in text  # what it needs may stand beside it


def test_what_is_cut_off_knows_nothing_of_whether_it_parses():
    broken = "def f(x:\n    return 1"
    assert program(MBPP, broken) == broken


def test_what_a_prompt_brings_along():
    prompt = "import math\n\n\ndef g(x):\n    return x\n\n\n@math.f\ndef f(x):\n    r'x'\n"
    assert helpers(prompt, "f") == "import math\n\ndef g(x):\n    return x"
    assert helpers("Write a function f.", "f") == ""
