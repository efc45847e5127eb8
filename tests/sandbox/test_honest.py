# ruff: noqa: E501 - programs in one line each
"""What ordinary programs and tests may do, and what the verdict says of those that can't be judged."""

import importlib.util

import pytest

from gemma_align.sandbox import Program
from gemma_align.sandbox.worker.library import IN_MEMORY, LOADED

HONEST = {
    "a plain function": ("def f(x):\n    return x + 1", "assert f(1) == 2"),
    "printing": ("print('hello')\ndef f(x):\n    print(x)\n    return x", "assert f(1) == 1"),
    "writing to standard error": ("import sys\ndef f(x):\n    sys.stderr.write('x')\n    return x", "assert f(1) == 1"),
    "a main block": ("def f(x):\n    return x\nif __name__ == '__main__':\n    input()", "assert f(1) == 1"),
    "a list sorted in place": ("def f(x):\n    x.sort()", "a = [3, 1]\nf(a)\nassert a == [1, 3]"),
    "a nested list changed": ("def f(x):\n    x[0][0] = 9", "a = ([1], 2)\nf(a)\nassert a == ([9], 2)"),
    "a dictionary changed by name": ("def f(*, d):\n    d['a'] = 1", "d = {}\nf(d=d)\nassert d == {'a': 1}"),
    "a set and a deque changed": (
        "def f(s, d):\n    s.add(1)\n    d.append(2)",
        "from collections import deque\ns, d = set(), deque()\nf(s, d)\nassert s == {1} and list(d) == [2]",
    ),
    "an error that is expected": (
        "def f(x):\n    raise ValueError('bad x')",
        "try:\n    f(1)\nexcept ValueError as e:\n    assert str(e) == 'bad x'\nelse:\n    assert False",
    ),
    "an error of its own that is expected": (
        "class Own(Exception):\n    pass\ndef f(x):\n    raise Own",
        "try:\n    f(1)\nexcept Exception:\n    pass\nelse:\n    assert False",
    ),
    "a generator": ("def f(n):\n    yield from range(n)", "assert list(f(5)) == [0, 1, 2, 3, 4]"),
    "a generator without end": (
        "def f():\n    a, b = 0, 1\n    while True:\n        yield a\n        a, b = b, a + b",
        "import itertools\nassert list(itertools.islice(f(), 8)) == [0, 1, 1, 2, 3, 5, 8, 13]",
    ),
    "views and zip": ("def f(d):\n    return zip(d.keys(), d.values())", "assert list(f({1: 2})) == [(1, 2)]"),
    "its own class": (
        "class P:\n    def __init__(self, a):\n        self.a = a\n    def twice(self):\n        return 2 * self.a\n"
        "def f(ps):\n    return sum(p.a for p in ps)",
        "assert f([P(1), P(2)]) == 3 and P(4).twice() == 8 and P(5).a == 5",
    ),
    "items of an object": (
        "class P:\n    def __getitem__(self, i):\n        return i\ndef f():\n    return P()",
        "assert f()[3] == 3",
    ),
    "truth, length, membership, text": (
        "class P:\n    def __bool__(self):\n        return False\n    def __len__(self):\n        return 3\n"
        "    def __contains__(self, x):\n        return x == 1\n    def __str__(self):\n        return 'P'\ndef f():\n    return P()",
        "p = f()\nassert not p and len(p) == 3 and 1 in p and 2 not in p and str(p) == 'P'",
    ),
    "named tuples and counters": (
        "from collections import Counter, OrderedDict, namedtuple\nP = namedtuple('P', 'a b')\n"
        "def f(x):\n    return P(1, 2), Counter(x), OrderedDict(a=1)",
        "from collections import Counter\nassert f('aab') == ((1, 2), Counter('aab'), {'a': 1})",
    ),
    "types as arguments": (
        "def f(xs, t):\n    return [x for x in xs if isinstance(x, t)]",
        "assert f([1, 'a'], str) == ['a']",
    ),
    "iterators as arguments": ("def f(xs):\n    return next(xs), sum(xs)", "assert f(i for i in range(4)) == (0, 6)"),
    "rare values": (
        "import datetime as d, decimal, fractions\ndef f():\n    return (d.date(2020, 1, 2), d.timedelta(1), 1j, b'x',\n"
        "        decimal.Decimal('1.5'), fractions.Fraction(1, 3), range(3), float('inf'), 10 ** 30, None, {1: {2}})",
        "import datetime as d, decimal, fractions\nassert f() == (d.date(2020, 1, 2), d.timedelta(1), 1j, b'x',\n"
        "    decimal.Decimal('1.5'), fractions.Fraction(1, 3), range(3), float('inf'), 10 ** 30, None, {1: {2}})",
    ),
    "odd strings": ("def f(x):\n    return x + '\\0'", "assert f('\\ud800é\\U0001f600') == '\\ud800é\\U0001f600\\0'"),
    "random numbers by a seed": (
        "import random\ndef f():\n    random.seed(3)\n    return random.random()",
        "import random\nrandom.seed(3)\nassert f() == random.random()",
    ),
    "dataclasses with text annotations": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n"
        "def f():\n    return P(3)",
        "assert f().a == 3",
    ),
    "asyncio": (
        "import asyncio\nasync def g():\n    await asyncio.sleep(0.001)\n    return 7\ndef f():\n    return asyncio.run(g())",
        "assert f() == 7",
    ),
    "sleeping": ("import time\ndef f():\n    time.sleep(0.01)\n    return 1", "assert f() == 1"),
    "much of the standard library": (
        "import logging, unittest, inspect, argparse, pathlib, tempfile, email.message, sched\n"
        "import urllib.parse, uuid, pickle, concurrent.futures, subprocess, hashlib, string, heapq, typing\n"
        "def f():\n    return hashlib.md5(b'').hexdigest()[:4], hashlib.new('sha256', b'').hexdigest()[:2]",
        "assert f() == ('d41d', 'e3')",
    ),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(20000)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)",
        "assert f(10000) == 10000",
    ),
    "warnings": ("def f(x):\n    return '\\d' if x is 1 else ''", "assert f(1) == '\\\\d'"),
    "a name like a built-in": ("def sum(a, b):\n    return a + b", "assert sum(1, 2) == 3"),
    "a value by its name": ("x = [1]\ndef f():\n    return x", "assert x == [1] and f() == x"),
    "a call's state stays": ("n = 0\ndef f():\n    global n\n    n += 1\n    return n", "assert f() == 1 and f() == 2"),
}


@pytest.mark.parametrize("name", HONEST)
def test_passes(name, sandbox):
    code, test = HONEST[name]
    entry = "sum" if name == "a name like a built-in" else "f"
    (grade,) = sandbox.grade([Program(name, code, (test,), entry)])
    assert grade.passed == (True,), grade
    assert grade.parsed
    assert grade.ran
    assert not grade.timeout


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("assert f(1) ==", "isn't Python"),
        ("import numpy as np\nassert f(1) == 2", "numpy"),
        ("def check():\n    from scipy import stats\n    assert f(1) == 2\ncheck()", "scipy"),
        ("assert f(lambda y: y) == 2", "function"),
        ("class Own:\n    pass\nassert f(Own()) == 2", "Own"),
    ],
)
def test_a_test_that_cant_be_judged_is_no_failure(test, why, sandbox):
    tests = ("assert f(1) == 2", test, "assert f(2) == 2")
    (grade,) = sandbox.grade([Program("a", "def f(x):\n    return 2", tests, "f")])
    assert grade.passed == (True, None, True)
    assert why in grade.unsupported
    # whatever the program does: a test that needs a missing module is the test's fault with a wrong program too
    (grade,) = sandbox.grade([Program("a", "def f(x):\n    return 3", tests, "f")])
    assert grade.passed == (False, None, False)


def test_setup_builds_objects_of_the_program(sandbox):
    """MBPP's `test_setup_code`: a tree of the program's own nodes, by its own class."""
    code = (
        "class Node:\n    def __init__(self, v):\n        self.v, self.left = v, None\n"
        "def depth(n):\n    return 0 if n is None else 1 + depth(n.left)"
    )
    setup = "root = Node(1)\nroot.left = Node(2)"
    (grade,) = sandbox.grade(
        [Program("a", code, ("assert depth(root) == 2", "assert root.left.v == 2"), "depth", setup)]
    )
    assert grade.passed == (True, True)
    (grade,) = sandbox.grade(
        [Program("a", "def depth(n):\n    return 2", ("assert depth(root) == 2",), "depth", setup)]
    )
    assert grade.passed == (False,)
    assert grade.ran


def test_grades_say_what_happened(sandbox):
    programs = [
        Program("syntax", "def f(", ("assert f(1)",), "f"),
        Program("raises", "1 / 0", ("assert f(1)",), "f"),
        Program("lacks", "def g(x):\n    return 1", ("assert f(1)",), "f"),
        Program("wrong", "def f(x):\n    return 1", ("assert f(1) == 2, 'not two'",), "f"),
        Program("untested", "x = 1"),
        Program("half", "def f(x):\n    return 1", ("assert f(1) == 1", "assert f(1) == 2"), "f"),
    ]
    syntax, raises, lacks, wrong, untested, half = sandbox.grade(programs)
    assert (syntax.parsed, syntax.ran, syntax.passed) == (False, False, (False,))
    assert "SyntaxError" in syntax.error
    assert (raises.parsed, raises.ran, raises.passed) == (True, False, (False,))
    assert "ZeroDivisionError" in raises.error
    assert (lacks.ran, lacks.passed) == (True, (False,))
    assert "NameError" in lacks.reasons[0]
    assert wrong.reasons == ("AssertionError: not two",)
    assert (untested.parsed, untested.ran, untested.passed) == (True, True, ())
    assert half.passed == (True, False)
    assert [grade.id for grade in sandbox.grade(programs * 5)] == [p.id for p in programs * 5]
    assert all("seccomp" in grade.layers and "rlimits" in grade.layers for grade in (syntax, half))


def test_every_module_that_is_kept_can_be_imported(sandbox):
    names = [*LOADED, *IN_MEMORY, "asyncio.runners", "concurrent.futures.thread", "unittest.mock", "email.message"]
    there = [name for name in names if importlib.util.find_spec(name) is not None]
    grades = sandbox.grade([Program(name, f"import {name}") for name in there])
    assert [(grade.id, grade.error) for grade in grades if not grade.ran] == []
