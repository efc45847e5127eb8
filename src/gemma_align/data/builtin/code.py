"""Builtin programming problems: a task, a reference solution, visible and hidden tests.

The splits share no family of problems, so nothing that was trained on is asked for again with another number in it.
The answers in the tests come from running the reference solution, which is part of this package.
"""

from itertools import zip_longest

from gemma_align.data.builtin.draw import Draw
from gemma_align.data.builtin.problem import Family
from gemma_align.data.builtin.problems_lists import LISTS
from gemma_align.data.builtin.problems_numbers import NUMBERS
from gemma_align.data.builtin.problems_text import TEXT
from gemma_align.data.readers.code import CUE, mbpp_prompt
from gemma_align.types import Example, Split

# Mixed, so that every split gets all kinds.
FAMILIES: tuple[Family, ...] = tuple(
    family for trio in zip_longest(NUMBERS, LISTS, TEXT) for family in trio if family is not None
)
_VISIBLE, _HIDDEN = 3, 4
_WORDS = [
    "river",
    "stone",
    "apple",
    "level",
    "music",
    "garden",
    "window",
    "noon",
    "silver",
    "paper",
    "kayak",
    "letter",
    "summer",
    "coffee",
    "bottle",
    "rabbit",
    "yellow",
    "planet",
    "button",
    "castle",
    "refer",
    "mirror",
    "pepper",
    "dinner",
    "tunnel",
    "forest",
    "hammer",
    "sudden",
    "balloon",
    "committee",
    "eye",
    "tree",
]
_NAMES = ["Ada", "Ben", "Cleo", "Dina", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jane", "Kim", "Leo"]
_OPENINGS = ("Write a function to", "Write a Python function to", "Implement a function to", "Create a function to")


def code_example(seed: int, split: Split, index: int) -> Example:
    """Example `index` of a split."""
    draw = Draw(seed, "code", split, index)
    family = draw.own(FAMILIES)
    name = draw.pick(family.names)
    filling = {parameter: draw.pick(values) for parameter, values in family.values.items()}
    solution = family.code.strip().format(**filling).replace("NAME", name)
    tests = _tests(draw, family, name, solution)
    visible, hidden = tests[:_VISIBLE], tests[_VISIBLE:]
    task = f"{draw.pick(_OPENINGS)} {family.what.format(**filling)}."
    return Example(
        id=f"builtin/code/{split}/{index}",
        prompt=mbpp_prompt(task, visible),
        response=solution,
        cue=CUE,
        checks={"tests": visible, "hidden_tests": hidden, "setup": "", "entry_point": name},
    )


def _tests(draw: Draw, family: Family, name: str, solution: str) -> list[str]:
    """Assertions on different arguments; the edge case, where the family has one, comes last."""
    scope: dict[str, object] = {}
    exec(solution, scope)
    function = scope[name]
    assert callable(function)
    wanted = _VISIBLE + _HIDDEN - (family.edge is not None)
    tests: dict[tuple[str, ...], str] = {}  # answers by arguments, all written out
    for attempt in range(1000):
        arguments = tuple(_argument(draw, kind) for kind in family.inputs)
        if family.related and draw.maybe(0.5):  # two random words are next to never made of the same letters
            arguments = (arguments[0], "".join(draw.shuffled(str(arguments[0]))))
        shown = tuple(map(repr, arguments))
        answer = repr(function(*arguments))
        # The visible tests shouldn't all have one answer: a constant would pass them.
        same = len(tests) == _VISIBLE - 1 and set(tests.values()) == {answer}
        if shown not in tests and arguments != family.edge and (not same or attempt > 200):
            tests[shown] = answer
        if len(tests) == wanted:
            break
    assert len(tests) == wanted, f"{family.names[0]}: its inputs have too few different values"
    if family.edge is not None:
        tests[tuple(map(repr, family.edge))] = repr(function(*family.edge))
    return [f"assert {name}({', '.join(shown)}) == {answer}" for shown, answer in tests.items()]


def _argument(draw: Draw, kind: str) -> object:
    if kind == "whole":
        return draw.pick((draw.whole(1, 400), draw.pick((8, 9, 25, 27, 32, 49, 64, 81, 125, 128, 243, 256, 343))))
    if kind == "small":
        return draw.whole(3, 30)
    if kind == "numbers":
        return [draw.whole(-4, 15) for _ in range(draw.whole(4, 7))]
    if kind == "sorted":
        step = draw.whole(1, 4)
        return sorted(step * draw.whole(1, 12) for _ in range(draw.whole(2, 5)))
    if kind == "word":
        return draw.pick(_WORDS)
    if kind == "words":
        return draw.some(_WORDS, 3, 5)
    if kind == "sentence":
        return " ".join(draw.pick(_WORDS) for _ in range(draw.whole(3, 6)))
    if kind == "rows":
        width = draw.whole(2, 3)
        return [[draw.whole(0, 9) for _ in range(width)] for _ in range(draw.whole(2, 3))]
    assert kind == "ages", kind
    names = draw.some(_NAMES, 2, 4)
    return dict(zip(names, draw.some(range(12, 60), len(names), len(names)), strict=True))
