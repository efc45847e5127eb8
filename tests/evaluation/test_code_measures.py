"""Measures of programs, by hand."""

import pytest

from gemma_align.data.readers.code import CUE, conala, humaneval, mbpp
from gemma_align.evaluation.code import bleu, measure, ready, sampled
from gemma_align.types import Example

GOOD = "def f(x):\n    return x + 1"
HALF = "def f(x):\n    return 2"
BROKEN = "def f(x:"
RAISES = "1 / 0"
CHECKS = {"tests": ["assert f(1) == 2"], "hidden_tests": ["assert f(2) == 3"], "entry_point": "f"}
TESTED = Example("1", "Write f.", GOOD, checks=CHECKS)
UNTESTED = Example("2", "Write f.", "x = sorted(a, key=len)")


def of(example, response):
    (found,) = measure([example], [response])
    return found


def test_with_tests():
    rows = measure([TESTED] * 5, [GOOD, HALF, BROKEN, RAISES, ""])
    names = ("parses", "runs", "test_share", "pass@1")
    assert [[row[name] for name in names] for row in rows] == [
        [1, 1, 1, 1],
        [1, 1, 0.5, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
    ]
    assert all(row["timeout"] == row["unsupported"] == 0 for row in rows)
    assert all("bleu" not in row for row in rows)
    assert rows[0]["exact_match"] == 1


def test_a_fenced_program_that_is_followed_by_prose():
    assert of(TESTED, f"Sure:\n```python\n{GOOD}\n```\nDone.")["pass@1"] == 1


def test_without_tests():
    responses = ["```\nx = sorted(a,  key=len)\n```", "x = sorted(a)", "import os", "x = ("]
    same, near, far, broken = measure([UNTESTED] * 4, responses)
    assert same["exact_match"] == 1
    assert near["exact_match"] == far["exact_match"] == 0
    assert same["bleu"] == pytest.approx(1)
    assert 0 < far["bleu"] < near["bleu"] < 1 or far["bleu"] == 0 < near["bleu"] < 1
    assert all(row["parses"] == 1 for row in (same, near, far))
    assert all("pass@1" not in row and "runs" not in row for row in (same, near, far))
    assert broken["parses"] == 0


def test_what_has_no_tests_is_not_run():
    assert of(UNTESTED, "while True:\n    pass")["parses"] == 1  # and comes back at once


def test_bleu_by_hand():
    # "a b c d" against "a b c e": 3/4 words, 2/3 pairs, 1/2 triples, and exponential smoothing halves none: (1/2)/1
    assert bleu("a b c d", "a b c e") == pytest.approx((3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)
    assert bleu("x", "x") == pytest.approx(1)
    assert bleu("", "x") == 0


def test_unsupported_is_counted_and_neither_passed_nor_failed():
    checks = CHECKS | {"hidden_tests": ["import numpy\nassert f(2) == 3"]}
    example = Example("1", "Write f.", checks=checks)
    found = of(example, GOOD)
    assert found["unsupported"] == 1
    assert "pass@1" not in found
    assert "test_share" not in found
    assert sampled([example], [[GOOD, HALF]]) == [{}]


def test_sampled():
    rows = sampled([TESTED, UNTESTED, TESTED], [[GOOD, HALF, BROKEN, HALF], ["x"], [HALF, HALF]])
    assert rows[0] == {"sampled_pass@1": 0.25, "pass@2": pytest.approx(0.5), "pass@4": 1.0}
    assert rows[1] == {}
    assert rows[2] == {"sampled_pass@1": 0.0, "pass@2": 0.0}
    assert sampled([UNTESTED], [[]]) == [{}]


def test_humaneval_tests_by_helpers_that_the_program_cant_redefine():
    fields = {
        "task_id": "HumanEval/32",
        "prompt": "import math\n\n\ndef poly(xs, x):\n    return xs[0] + xs[1] * x\n\n\n"
        'def find_zero(xs):\n    """A zero."""\n',
        "entry_point": "find_zero",
        "canonical_solution": "    return -xs[0] / xs[1]\n",
        "test": "def check(candidate):\n    assert math.fabs(poly([1, 2], candidate([1, 2]))) < 1e-4\n",
    }
    example = humaneval(fields, CUE).example
    assert example.prompt == fields["prompt"]  # as published
    bodies = ["return -xs[0] / xs[1]", "return 7", "global poly\n    poly = lambda xs, x: 0\n    return 7"]
    rows = measure([example] * 3, [f"    {body}\n" for body in bodies])
    assert [row["pass@1"] for row in rows] == [1, 0, 0]


def test_mbpp_prompt_is_the_published_one():
    fields = {
        "task_id": 11,
        "text": "Write a python function f.",
        "code": "def f(x):\r\n  return x + 1",
        "test_list": ["assert f(1) == 2", "assert f(2) == 3"],
        "test_setup_code": "",
        "challenge_test_list": ["assert f(3) == 4"],
    }
    example = mbpp(fields, CUE).example
    assert f"{example.prompt}{CUE}" == (
        "You are an expert Python programmer, and here is your task: Write a python function f. "
        "Your code should pass these tests:\n\nassert f(1) == 2\nassert f(2) == 3\n[BEGIN]"
    )
    assert of(example, f"{example.response}\n[DONE]\n\nYou are an expert")["pass@1"] == 1


def test_conala_has_no_tests():
    example = conala({"intent": "sort a", "rewritten_intent": None, "snippet": "sorted(a)"}, CUE).example
    assert of(example, "sorted(a)")["exact_match"] == 1


def test_ready():
    ready()
