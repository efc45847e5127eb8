"""The code reward: every rung by hand, the program taken from the answer, and hidden tests that nobody reads."""

from collections.abc import Iterator, Mapping

import pytest

from gemma_align.errors import RewardError
from gemma_align.rewards.code import CodeReward
from gemma_align.rewards.programs import program_of, visible_tests
from gemma_align.types import Answer, Example

VISIBLE = ["assert double(2) == 4", "assert double(0) == 0", "assert double(-3) == -6"]
TASK = Example(
    "task", "Write double.", cue="[BEGIN]", checks={"tests": VISIBLE, "hidden_tests": [], "entry_point": "double"}
)
RIGHT = "def double(x):\n    return x + x"
HEAD = (
    'from math import floor\n\ndef double(x):\n    """ Twice.\n    >>> double(2)\n    4\n    >>> double(3) # odd\n'
    '    6\n    >>> double("no number")\n    an error\n    """\n'
)
CONTINUED = Example(
    "head", HEAD, checks={"tests": [], "hidden_tests": ["x"], "entry_point": "double", "continues": True}
)


@pytest.fixture(scope="module")
def reward() -> Iterator[CodeReward]:
    with CodeReward(cpu_seconds=1, num_workers=1) as made:
        yield made


@pytest.mark.parametrize(
    ("text", "parses", "runs", "passed"),
    [
        (RIGHT, 1, 1, 3),
        ("def double(x):\n    return x * x", 1, 1, 2),  # 2 and 0, not -3
        ("def double(x):\n    return 7", 1, 1, 0),
        ("def double(x)\n    return x", 0, 0, 0),
        ("def half(x):\n    return x / 2", 1, 0, 0),  # runs, but isn't what was asked for
        ("", 0, 0, 0),
        ("# double\n", 0, 0, 0),
        ("raise ValueError", 1, 0, 0),
        ("double = lambda x: 2 * x", 1, 1, 3),
        ("def double(x):\n    while x < 0: pass\n    return 2 * x", 1, 0, 2),  # its time runs out in the last test
    ],
)
def test_each_rung_by_hand(reward: CodeReward, text: str, parses: int, runs: int, passed: int) -> None:
    scores = reward.score([TASK], [Answer(text)])
    assert {name: round(float(part[0]) * 3) for name, part in scores.parts.items()} == {
        "parses": 3 * parses,
        "runs": 3 * runs,
        "tests": passed,
    }
    assert float(scores.total[0]) == pytest.approx(0.1 * parses + 0.2 * runs + 0.7 * passed / 3)


def test_weights_are_the_caller_s() -> None:
    with CodeReward(parses=0.0, runs=0.0, tests=2.0, num_workers=1) as reward:
        assert reward.score([TASK, TASK], [Answer(RIGHT), Answer("x = 1")]).total.tolist() == [2.0, 0.0]


class _Guarded(Mapping):  # type: ignore[type-arg]
    """Checks whose hidden tests can't be read, nor all of it at once."""

    def __getitem__(self, key):  # type: ignore[no-untyped-def]
        if key == "hidden_tests":
            raise AssertionError("the reward read the hidden tests")
        return TASK.checks[key]

    def __iter__(self):  # type: ignore[no-untyped-def]
        raise AssertionError("the reward went through all checks")

    def __len__(self) -> int:
        return 3


def test_hidden_tests_are_never_read(reward: CodeReward) -> None:
    guarded = Example("guarded", "p", checks=_Guarded())
    with pytest.raises(AssertionError, match="read the hidden tests"):
        guarded.checks.get("hidden_tests")
    assert reward.score([guarded], [Answer(RIGHT)]).total.tolist() == [1.0]


def test_a_program_that_only_knows_the_visible_answers_gets_all(reward: CodeReward) -> None:
    cheat = "def double(x):\n    return {2: 4, 0: 0, -3: -6}.get(x)"
    task = Example("t", "p", checks={**TASK.checks, "hidden_tests": ["assert double(5) == 10"]})
    assert reward.score([task], [Answer(cheat)]).total.tolist() == [1.0]  # what the hidden tests are kept for


def test_examples_that_cannot_be_judged_stop_the_run(reward: CodeReward) -> None:
    bare = Example("bare", "p", checks={"tests": []})
    with pytest.raises(RewardError, match=r"example bare.*no visible tests"):
        reward.score([TASK, bare], [Answer(RIGHT), Answer(RIGHT)])
    odd = Example("odd", "p", checks={"tests": ["assert (double(2"], "entry_point": "double"})
    with pytest.raises(RewardError, match=r"example odd.*isn't Python"):
        reward.score([odd], [Answer(RIGHT)])


def test_no_answers_need_no_sandbox() -> None:
    reward = CodeReward()
    assert reward.score([], []).total.shape == (0,)
    assert reward._sandbox is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (RIGHT, RIGHT),
        (f"\n{RIGHT}\n[DONE]\nYou are an expert", RIGHT),
        (f"{RIGHT}\n[BEGIN]", RIGHT),
        (f"Here you go:\n```python\n{RIGHT}\n```\nIt doubles.", RIGHT),
        (f"```\n{RIGHT}", RIGHT),
        (f"Try `double(1)`:\n```\ndouble(1)\n```\n```py\n{RIGHT}\n```", RIGHT),
        (f"Sure! This doubles a number.\n\n{RIGHT}", RIGHT),
        (f"{RIGHT}\n```\nprose", RIGHT),
        (f"TWO = 2\n{RIGHT}\nYou are an expert Python programmer", f"TWO = 2\n{RIGHT}"),
        ("I can't do that.", "I can't do that."),
    ],
)
def test_the_program_is_found_in_the_answer(text: str, code: str) -> None:
    assert program_of(TASK, text) == code


@pytest.mark.parametrize(
    "text",
    [
        "    return 2 * x",
        "    return 2 * x\n\n\ndef main():\n    pass",
        "    y = x\n\n    # a comment\n    return x + y\nprint(double(1))",
        "```python\n    return 2 * x\n```",
        f"```python\n{RIGHT}\n```",
        "def double(x):\n    return floor(2 * x)",  # the prompt's imports come along
    ],
)
def test_continuations_of_a_prompt(reward: CodeReward, text: str) -> None:
    assert reward.score([CONTINUED], [Answer(text)]).total.tolist() == [1.0]
    assert "main" not in program_of(CONTINUED, text)
    assert "print(double" not in program_of(CONTINUED, text)


def test_docstring_examples_are_the_visible_tests_of_a_continuation() -> None:
    assert visible_tests(CONTINUED) == ("assert double(2) == 4", "assert double(3) == 6")
    assert visible_tests(TASK) == tuple(VISIBLE)
    assert visible_tests(Example("x", HEAD, checks={"entry_point": "double"})) == ()
