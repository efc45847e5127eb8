"""Mutants of programs: single changes by hand, always Python, and layout left alone."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_align.data.builtin.code import code_example
from gemma_align.data.pairs.programs import KINDS, mutants

PROGRAM = """def f(a, b):  # größer
    if a < b and a:
        return a + b
    return 3
"""
EXPECTED = {
    ("operator", "if a <= b and a"),
    ("branch", "if a < b or a"),
    ("branch", "if not (a < b and a)"),
    ("operator", "return a - b"),
    ("return", "return None"),
    ("return", "return a\n"),
    ("return", "return b\n"),
    ("off_by_one", "return 4"),
    ("off_by_one", "return 2"),
}


def test_all_changes_of_a_small_program() -> None:
    found = mutants(PROGRAM, 0)
    for kind, line in EXPECTED:
        assert any(m.kind == kind and line in m.text for m in found), line
    # both returns may become None, a and b
    assert len(found) == len({m.text for m in found}) == len(EXPECTED) + 3
    assert all("# größer" in m.text for m in found)
    assert {m.kind for m in found[: len(KINDS)]} == set(KINDS)  # kinds in turns


@pytest.mark.parametrize(
    ("code", "gone", "there"),
    [
        ("for i in range(n):\n    pass", "range(n)", "range(n - 1)"),
        ("x = é not in y", "not in", "é in y"),
        ("x = (1 * a) ** (b)", ") ** (", "(1 * a) * (b)"),
        ("x = True", "True", "False"),
        ("x = a is  not None", "is  not", "a is None"),
    ],
)
def test_single_changes_by_hand(code: str, gone: str, there: str) -> None:
    assert any(there in m.text and gone not in m.text for m in mutants(code, 0))


@pytest.mark.parametrize("code", ["def f(:", "", "x = 'a' % b", "print(f'{1 + 2}')", "# nothing", "\0"])
def test_nothing_to_change_gives_nothing(code: str) -> None:
    assert mutants(code, 0) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(0, 5))
def test_mutants_are_other_python_programs(index: int, seed: int) -> None:
    code = code_example(0, "train", index).response or ""
    found = mutants(code, seed)
    assert found == mutants(code, seed)
    assert found
    for mutant in found:
        ast.parse(mutant.text)
        assert mutant.text != code
        assert abs(len(mutant.text.splitlines()) - len(code.splitlines())) == 0 or mutant.kind == "return"
