# ruff: noqa: E501 - programs in one line each
"""Time, memory, output, and what is left afterwards."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gemma_align.errors import UserError
from gemma_align.sandbox import Limits, Program, Sandbox, SandboxUnavailable

HANGS = {
    "a loop at import": "while True:\n    pass",
    "a loop in the call": "def f(x):\n    while x:\n        pass",
    "endless output": "def f(x):\n    while True:\n        print('x' * 1000)",
    "sleeping": "import time\ndef f(x):\n    time.sleep(60)",
    "waiting for its socket": (
        "import os\ndef ok(fd):\n    try:\n        os.lseek(fd, 0, 1)\n    except OSError as error:\n"
        "        return error.errno == 29\ndef f(x):\n    os.read(max(filter(ok, range(60))), 1)"
    ),
    "ignoring signals": (
        "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\ndef f(x):\n    while True:\n        pass"
    ),
    "a slow pattern": "import re\ndef f(x):\n    return re.match('(a+)+$', 'a' * 60 + 'b')",
}


@pytest.fixture(scope="module")
def hurried():
    with Sandbox(Limits(cpu_seconds=1, wall_seconds=1.5), num_workers=2) as made:
        yield made


def test_hanging_is_a_result_of_its_own(hurried):
    tests = ("assert f(0) is None or True", "assert f(1) == 2")
    programs = [Program(name, code, tests, "f") for name, code in HANGS.items()]
    started = time.monotonic()
    grades = hurried.grade(programs)
    for grade in grades:
        assert grade.timeout, grade
        assert grade.passed[1] is False
    assert "out of time" in grades[0].error
    assert time.monotonic() - started < 4 * len(HANGS)
    (after,) = hurried.grade([Program("after", "def f(x):\n    return x", ("assert f(1) == 1",), "f")])
    assert after.passed == (True,)
    assert not after.timeout


def test_tests_before_a_hanging_one_count(hurried):
    code = "import time\ndef f(x):\n    if x == 2:\n        time.sleep(60)\n    return x"
    tests = ("assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3")
    (grade,) = hurried.grade([Program("a", code, tests, "f")])
    assert grade.passed == (True, False, False)
    assert grade.timeout
    assert grade.reasons == ("", "out of time", "out of time")


def test_a_test_that_hangs_by_the_programs_answers_fails(hurried):
    (grade,) = hurried.grade([Program("a", "def f():\n    return 1", ("while f():\n    pass",), "f")])
    assert grade.passed == (False,)
    assert grade.timeout


def test_memory(sandbox):
    code = "def f(n):\n    return len(bytearray(n))"
    tests = ("assert f(300 * 2 ** 20) == 300 * 2 ** 20", "assert f(8 * 2 ** 30) > 0", "assert f(10) == 10")
    (grade,) = sandbox.grade([Program("a", code, tests, "f")])
    assert grade.passed == (True, False, True)  # a MemoryError like any other
    assert "MemoryError" in grade.reasons[1]
    with Sandbox(Limits(memory_bytes=2**31), num_workers=1) as roomy:
        (grade,) = roomy.grade([Program("a", code, ("assert f(1200 * 2 ** 20) > 0",), "f")])
    assert grade.passed == (True,)


def test_a_crash_stays_with_its_program(sandbox):
    crash = Program("crash", "import ctypes\nctypes.string_at(0)", ("assert True",))
    good = Program("good", "def f(x):\n    return x", ("assert f(1) == 1",), "f")
    grades = sandbox.grade([crash, good] * 10)
    assert [grade.passed for grade in grades] == [(False,), (True,)] * 10


@pytest.mark.parametrize("bombs", ["processes", "threads"])
def test_bombs(bombs, sandbox):
    code = {
        "processes": "import os\ndef f():\n    while True:\n        try:\n            os.fork()\n        except OSError:\n"
        "            return 'refused'",
        "threads": "import threading, time\ndef f():\n    while True:\n        try:\n"
        "            threading.Thread(target=time.sleep, args=(60,)).start()\n        except RuntimeError:\n"
        "            return 'refused'",
    }[bombs]
    (grade,) = sandbox.grade([Program("a", code, ("assert f() == 'refused'",), "f")])
    assert grade.passed == (True,)


def in_session(pid: int) -> list[int]:
    """Processes of a zygote's session; its children can't leave it."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = place.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == pid and state != "Z":
            found.append(int(place.parent.name))
    return found


def test_nobody_is_left():
    with Sandbox(Limits(cpu_seconds=1), num_workers=2) as sandbox:
        pids = sandbox.pids
        sandbox.grade([Program("a", "while True:\n    pass", ("f()",))] * 2 + [Program("b", "x = 1", ("x",))] * 5)
        assert [in_session(pid) for pid in pids] == [[pid] for pid in pids]  # no child outlives its program
    assert [in_session(pid) for pid in pids] == [[], []]
    with pytest.raises((SandboxUnavailable, RuntimeError)):
        sandbox.grade([Program("a", "x = 1")])


def test_nobody_is_left_where_the_owner_is_killed():
    code = (
        "from gemma_align.sandbox import *\nimport sys\n"
        "sandbox = Sandbox(Limits(cpu_seconds=60), num_workers=1)\nprint(sandbox.pids[0], flush=True)\n"
        "sandbox.grade([Program('a', 'while True:\\n    pass')])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as owner:
        assert owner.stdout is not None
        zygote = int(owner.stdout.readline())
        deadline = time.monotonic() + 20
        while len(in_session(zygote)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(in_session(zygote)) == 3  # itself, program, judge
        owner.kill()
    while in_session(zygote) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert in_session(zygote) == []


def test_a_zygote_that_dies_is_replaced(sandbox, caplog):
    first = sandbox.pids
    slow = Program("slow", "import time\ndef f(x):\n    time.sleep(0.4)\n    return x", ("assert f(1) == 1",), "f")
    killer = threading.Timer(0.2, os.kill, (first[0], signal.SIGKILL))
    killer.start()
    grades = sandbox.grade([slow] * 4)
    killer.join()
    assert [grade.passed for grade in grades] == [(True,)] * 4
    assert first[0] not in sandbox.pids
    assert len(sandbox.pids) == len(first)
    assert "starting another" in caplog.text


@pytest.mark.slow  # not beside tests that measure time
@pytest.mark.ci
def test_no_false_failures_on_a_busy_machine():
    """Four times as many busy processes as cores, default limits."""
    code = "def f(n):\n    return sum(i * i for i in range(n))"
    tests = tuple(f"assert f({n}) == {sum(i * i for i in range(n))}" for n in (10, 1000, 200_000))
    burners = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * len(os.sched_getaffinity(0)))
    ]
    try:
        with Sandbox() as sandbox:
            grades = sandbox.grade([Program("a", code, tests, "f")] * 40)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert {grade.passed for grade in grades} == {(True, True, True)}
    assert not any(grade.timeout for grade in grades)


@pytest.mark.parametrize(
    "wrong",
    [{"cpu_seconds": 0}, {"cpu_seconds": 1.5}, {"cpu_seconds": 5, "wall_seconds": 2.0}, {"memory_bytes": 1000}],
)
def test_limits_that_make_no_sense(wrong):
    with pytest.raises(UserError, match="wanted"):
        Limits(**wrong)
