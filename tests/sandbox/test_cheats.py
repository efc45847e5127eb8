# ruff: noqa: E501 - programs in one line each
"""Programs that try to pass without solving the task. None may pass, and none may void the tests."""

import pytest

from gemma_align.sandbox import Program

TESTS = ("assert f(1) == 2", "assert f([3]) == [3, 4]", "assert f('a') == 'b'")

CHEATS = {
    "exit at import": "import os\nos._exit(0)",
    "exit in the call": "import os\ndef f(x):\n    os._exit(0)",
    "sys.exit at import": "import sys\ndef f(x):\n    return 2\nsys.exit(0)",
    "sys.exit in the call": "import sys\ndef f(x):\n    sys.exit(0)",
    "SystemExit": "def f(x):\n    raise SystemExit(0)",
    "KeyboardInterrupt": "def f(x):\n    raise KeyboardInterrupt",
    "StopIteration": "def f(x):\n    raise StopIteration",
    "GeneratorExit": "def f(x):\n    raise GeneratorExit",
    "AssertionError": "def f(x):\n    raise AssertionError",
    "ImportError": "def f(x):\n    raise ImportError('No module named numpy')",
    "a module that isn't there": "def f(x):\n    import numpy",
    "a module that isn't there, at import": "import numpy\ndef f(x):\n    return 2",
    "an exception of its own": "class Passed(BaseException):\n    pass\ndef f(x):\n    raise Passed",
    "an exception called Unsendable": "class Unsendable(BaseException):\n    pass\ndef f(x):\n    raise Unsendable",
    "an exception whose name lies": "class E(Exception):\n    pass\nE.__name__ = 'Unsendable'\ndef f(x):\n    raise E",
    "an exception that can't be shown": (
        "class E(Exception):\n    def __str__(self):\n        raise SystemExit\ndef f(x):\n    raise E"
    ),
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    raise SystemExit",
    "excepthook": "import sys\nsys.excepthook = lambda *a: sys.exit(0)\ndef f(x):\n    raise ValueError",
    "signal handlers": (
        "import signal\nfor n in (1, 2, 3, 13, 14, 15, 24):\n    signal.signal(n, lambda *a: None)\ndef f(x):\n    return 0"
    ),
    "a patched AssertionError": "import builtins\nbuiltins.AssertionError = ValueError\ndef f(x):\n    return 0",
    "patched built-ins": (
        "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 0\ndef f(x):\n    return 0"
    ),
    "an int that equals all": (
        "class N(int):\n    def __eq__(self, other):\n        return True\n    __hash__ = int.__hash__\n"
        "def f(x):\n    return N(0)"
    ),
    "a str that equals all": (
        "class S(str):\n    def __eq__(self, other):\n        return True\n    __hash__ = str.__hash__\n"
        "def f(x):\n    return S('no')"
    ),
    "a list that equals all": "class L(list):\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return L()",
    "an object that equals all": "class E:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return E()",
    "an object that claims a class": (
        "class E:\n    __class__ = int\n    def __eq__(self, other):\n        return True\n    def __index__(self):\n"
        "        return 2\ndef f(x):\n    return E()"
    ),
    "a dict of objects that equal all": (
        "class E:\n    def __eq__(self, other):\n        return True\n    __hash__ = None\n"
        "def f(x):\n    return [E(), E()]"
    ),
    "a mock": "from unittest.mock import MagicMock, ANY\ndef f(x):\n    return ANY",
    "lines on every descriptor": (
        "import os\nfor fd in range(64):\n    for line in (b'PASSED\\n', b'{\"passed\": [true, true, true]}\\n', b'OK\\n'):\n"
        "        try:\n            os.write(fd, line)\n        except OSError:\n            pass\n"
        "def f(x):\n    return 0"
    ),
    "a forged verdict in frames": (
        "import json, os\ndata = json.dumps({'parsed': True, 'ran': True, 'ready': True, 'error': '',\n"
        "    'passed': [True] * 3, 'reasons': [''] * 3}).encode()\n"
        "for fd in range(3, 64):\n    try:\n        os.write(fd, len(data).to_bytes(4, 'big') + data)\n"
        "    except OSError:\n        pass\ndef f(x):\n    return 0"
    ),
    "answers before the questions": (
        "import json, os\ndef ok(fd):\n    try:\n        os.lseek(fd, 0, 1)\n    except OSError as error:\n"
        "        return error.errno == 29\ndef frame(m):\n    data = json.dumps(m).encode()\n"
        "    return len(data).to_bytes(4, 'big') + data\nanswers = [{'result': ['type', 'object'], 'args': [None], 'kwargs': {}}] * 9\n"
        "os.write(max(filter(ok, range(60))), b''.join(map(frame, [{'ok': True}, {'ok': True}, *answers])))\nos._exit(0)"
    ),
    "a hunt through frames": (
        "import sys\ndef f(x):\n    frame, found = sys._getframe(), []\n    while frame:\n"
        "        found += [v for v in frame.f_locals.values()] + [v for v in frame.f_globals.values()]\n"
        "        frame = frame.f_back\n"
        "    text = ' '.join(map(str, found))\n    for want in (2, [3, 4], 'b'):\n"
        "        if f'f({x!r}) == {want!r}' in text:\n            return want"
    ),
    "a hunt through gc": (
        "import gc\ndef f(x):\n    for thing in gc.get_objects():\n        text = str(thing)[:100000]\n"
        "        for want in (2, [3, 4], 'b'):\n            if f'f({x!r}) == {want!r}' in text:\n"
        "                return want"
    ),
    "a sabotaged codec": (
        "import sys\nfor name, module in list(sys.modules.items()):\n    if name.endswith('codec'):\n"
        "        module.Encoder = lambda other: (lambda value, depth=0: ['judge', 'passed'])\n"
        "        module.send_ = module.send\n"
        "def f(x):\n    return 0"
    ),
    "no JSON": (
        "import sys\nfor name, module in list(sys.modules.items()):\n    if name.endswith('codec'):\n"
        "        import os\n        module.send = lambda fd, message: os.write(fd, b'\\0\\0\\0\\2{]')\n"
        "def f(x):\n    return 0"
    ),
    "a frame without an end": (
        "import sys\nfor name, module in list(sys.modules.items()):\n    if name.endswith('codec'):\n"
        "        import os\n        module.send = lambda fd, message: os.write(fd, b'\\xff\\xff\\xff\\xff')\n"
        "def f(x):\n    return 0"
    ),
    "JSON nested without end": (
        "import sys\nfor name, module in list(sys.modules.items()):\n    if name.endswith('codec'):\n"
        "        import os\n        data = b'[' * 100000\n"
        "        module.send = lambda fd, m: os.write(fd, len(data).to_bytes(4, 'big') + data)\n"
        "def f(x):\n    return 0"
    ),
    "a huge result": "def f(x):\n    return list(range(10 ** 7))",
    "a huge number": "def f(x):\n    return 1 << (10 ** 9)",
    "a long string": "def f(x):\n    return 'b' * 10 ** 8",
    "a recursive result": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "a deep result": "def f(x):\n    a = []\n    for _ in range(10 ** 5):\n        a = [a]\n    return a",
    "a result that never ends": "def f(x):\n    while True:\n        yield x",
    "a recursion without end": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x):\n    return f(x)",
    "a crash": "import ctypes\ndef f(x):\n    ctypes.string_at(0)",
    "not Python": "def f(x:\n    return 2",
    "nothing": "",
    "null bytes": "def f(x):\n    return 2\0",
}


@pytest.mark.parametrize("name", CHEATS)
def test_failed(name, sandbox):
    (grade,) = sandbox.grade([Program(name, CHEATS[name], TESTS, "f")])
    assert True not in grade.passed
    assert None not in grade.passed  # a test that is left out doesn't count against the program
    assert len(grade.passed) == len(grade.reasons) == 3
    assert all(grade.reasons)


def test_the_tests_can_be_passed(sandbox):
    code = "def f(x):\n    return x + 1 if isinstance(x, int) else x + [x[-1] + 1] if isinstance(x, list) else chr(ord(x) + 1)"
    (grade,) = sandbox.grade([Program("honest", code, TESTS, "f")])
    assert grade.passed == (True, True, True)
    assert grade.reasons == ("", "", "")


TRICKED = {
    # the program ends the iteration in which it is asked
    "StopIteration through map": (
        "def f(x):\n    raise StopIteration",
        "assert all(map(lambda y: False, map(f, [1, 2])))",
    ),
    "StopIteration as a subclass": (
        "class StopIteration(StopIteration):\n    pass\ndef f(x):\n    raise StopIteration",
        "assert list(map(f, [1, 2])) == []",
    ),
    # the test expects an error; ending the process is none
    "exit where an error is expected": (
        "import os\ndef f(x):\n    os._exit(0)",
        "try:\n    f(1)\nexcept Exception:\n    pass\nelse:\n    assert False",
    ),
    "exit where any error is expected": (
        "import os\ndef f(x):\n    os._exit(0)",
        "try:\n    f(1)\nexcept:\n    pass\nelse:\n    assert False",
    ),
    "sys.exit where an error is expected": (
        "import sys\ndef f(x):\n    sys.exit()",
        "try:\n    f(1)\nexcept Exception:\n    pass\nelse:\n    assert False",
    ),
    # handles answer as they like, but equal nothing
    "attributes that change": (
        "import itertools\nc = itertools.count()\nclass P:\n    @property\n    def x(self):\n        return next(c)\n"
        "def f(x):\n    return P()",
        "p = f(1)\nassert p.x == p.x",
    ),
    "a length that is no number": (
        "class P:\n    def __len__(self):\n        return -1\ndef f(x):\n    return P()",
        "len(f(1))",
    ),
    "a handle as a number": (
        "class P:\n    def __abs__(self):\n        return 0\n    def __sub__(self, o):\n        return self\n"
        "    def __float__(self):\n        return 0.0\n    def __lt__(self, o):\n        return True\ndef f(x):\n    return P()",
        "assert abs(f(1) - 3.5) < 1e-6",
    ),
    "a handle that is in everything": (
        "class P:\n    def __eq__(self, o):\n        return True\n    __hash__ = object.__hash__\ndef f(x):\n    return P()",
        "assert f(1) in [2, 3]",
    ),
    "a handle whose class lies": (
        "class P:\n    __class__ = bool\ndef f(x):\n    return P()",
        "assert isinstance(f(1), bool)",
    ),
    "what a test passes on is no way out": (
        "def f(x):\n    return []\ndef g(x):\n    return 1",
        "assert g(f(1).append) == 1",  # a method of a value that the program gave: the program's fault, not the test's
    ),
    "nan": ("def f(x):\n    return float('nan')", "assert f(1) == f(1)"),
}


@pytest.mark.parametrize("name", TRICKED)
def test_the_test_isnt_tricked(name, sandbox):
    code, test = TRICKED[name]
    (grade,) = sandbox.grade([Program(name, code, (test,), "f")])
    assert grade.passed == (False,)


def test_a_program_sees_no_test_and_no_other_program(sandbox):
    """All that its process can find: memory by gc, frames, and what the job brought. The marks are only in the tests."""
    code = (
        "import gc, sys\ndef f(x):\n    frame, seen = sys._getframe(), []\n    while frame:\n"
        "        seen.append(str(frame.f_locals)[:10 ** 6])\n        frame = frame.f_back\n"
        "    seen += [str(o)[:10 ** 5] for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]\n"
        "    return [mark[::-1] for mark in ('1krams', '2krams', '3krams', '4krams') if any(mark[::-1] in s for s in seen)]\n"
    )
    other = Program("other", "x = 'smark3'", ("assert 'smark4'",))
    programs = [other, Program("looks", code, ("assert 'smark1' and f('smark2') == ['smark2']",), "f")] * 4
    grades = sandbox.grade(programs)
    assert {grade.passed for grade in grades} == {(True,)}


def test_a_forged_start_runs_no_test(sandbox):
    """What a program says of itself opens no way past the tests."""
    code = (
        "import json, os\ndata = json.dumps({'ok': True}).encode()\n"
        "for fd in range(3, 64):\n    try:\n        os.write(fd, (len(data).to_bytes(4, 'big') + data) * 9)\n"
        "    except OSError:\n        pass\nos._exit(0)"
    )
    (grade,) = sandbox.grade([Program("forged", code, TESTS, "f")])
    assert grade.passed == (False, False, False)


def test_a_redefined_helper_of_the_task_changes_nothing(sandbox):
    """HumanEval/32 checks an answer by a function that stands in its prompt, so the judge has its own."""
    helper = "def poly(xs, x):\n    return sum(c * x ** i for i, c in enumerate(xs))\n"
    test = "def check(candidate):\n    assert abs(poly([1, 2], candidate([1, 2]))) < 1e-4\n\ncheck(find_zero)"
    cheat = (
        helper
        + "def find_zero(xs):\n    global poly\n    poly = lambda xs, x: 0\n    return 1\npoly = lambda xs, x: 0\n"
    )
    honest = helper + "def find_zero(xs):\n    return -0.5\n"
    grades = sandbox.grade(
        [Program(n, code, (test,), "find_zero", helper) for n, code in (("c", cheat), ("h", honest))]
    )
    assert [grade.passed for grade in grades] == [(False,), (True,)]
