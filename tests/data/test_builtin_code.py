"""Builtin problems: the reference solutions are right, and nothing that ignores its arguments is."""

from gemma_align.data.builtin.code import FAMILIES, code_example
from gemma_align.data.builtin.draw import pool

SPLITS = ("train", "tune", "report")


def passed(example, solution):
    scope = {}
    exec(solution, scope)
    good = 0
    for test in (*example.checks["tests"], *example.checks["hidden_tests"]):
        try:
            exec(test, scope)
            good += 1
        except AssertionError:
            pass
    return good


def problems(count=60):
    return [code_example(0, split, i) for split in SPLITS for i in range(count)]


def test_reference_solutions_pass_all_tests():
    for example in problems(120):
        assert len(example.checks["tests"]) == 3
        assert len(example.checks["hidden_tests"]) == 4
        assert len(set(example.checks["tests"] + example.checks["hidden_tests"])) == 7
        assert passed(example, example.response) == 7, example.response


def test_solutions_that_ignore_their_arguments_fail():
    for example in problems():
        name = example.checks["entry_point"]
        answer = example.checks["tests"][0].split(" == ", 1)[1]
        visible = passed(example, f"def {name}(*args):\n    return {answer}\n")
        assert visible < 7, example.prompt


def test_there_are_enough_families_and_each_works():
    assert len(FAMILIES) >= 25
    assert len(pool(FAMILIES, "train")) >= 20
    assert len({family.what for family in FAMILIES}) == len(FAMILIES)
    names = [name for family in FAMILIES for name in family.names]
    assert len(set(names)) == len(names)
    shown = {family.names for example in problems(150) for family in FAMILIES if entry(example) in family.names}
    assert len(shown) == len(FAMILIES)


def entry(example):
    return example.checks["entry_point"]


def test_splits_share_no_family():
    used = {split: {entry(code_example(0, split, i)) for i in range(200)} for split in SPLITS}
    for a in SPLITS:
        for b in SPLITS:
            assert a == b or not used[a] & used[b]


def test_the_prompt_shows_the_visible_tests_only():
    for example in problems(20):
        assert all(test in example.prompt for test in example.checks["tests"])
        assert not any(test in example.prompt for test in example.checks["hidden_tests"])
        assert example.cue == "[BEGIN]"


def test_examples_do_not_depend_on_how_many_are_made():
    assert [code_example(3, "tune", i) for i in range(10)][9] == code_example(3, "tune", 9)
    assert code_example(4, "tune", 9) != code_example(3, "tune", 9)
