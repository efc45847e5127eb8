"""Where programs can't be confined none is run, unless somebody asked for that by name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_align.errors import UserError
from gemma_align.sandbox import Program, Sandbox, SandboxUnavailable
from gemma_align.sandbox import filter as rules

SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture(autouse=True)
def fresh_filter():
    rules.seccomp_filter.cache_clear()
    yield
    rules.seccomp_filter.cache_clear()


def nobody_may_run(python: str) -> bool:
    try:
        wanted = "import sys; sys.exit(sys.version_info < (3, 11))"
        return subprocess.run([python, "-c", wanted], user=65534, group=65534, env={}, cwd="/").returncode == 0
    except PermissionError:
        return False


def refused(match: str) -> None:
    with pytest.raises(SandboxUnavailable, match=match):
        Sandbox(num_workers=1)


def test_no_libseccomp(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    refused("libseccomp2")


def test_another_system(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    refused("Linux only")


def test_a_kernel_that_refuses_the_filter(monkeypatch):
    monkeypatch.setattr("gemma_align.sandbox.sandbox.seccomp_filter", lambda: b"\0" * 16)
    refused("refuses to confine a process.*Invalid argument")


def test_a_filter_that_lets_too_much_through(monkeypatch):
    monkeypatch.setattr(rules, "ALLOWED", [*rules.ALLOWED, "socket", "ptrace", "clone", "newfstatat"])
    refused("could look at a file.*could make a socket")


def test_a_filter_under_which_nothing_works(monkeypatch):
    monkeypatch.setattr(rules, "ALLOWED", ["exit_group", "read", "write"])
    refused("can't compute")


def test_a_python_that_doesnt_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    refused("doesn't start")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    refused("doesn't start")


def test_opting_out_is_by_name_and_loud(caplog):
    with Sandbox(num_workers=1, without=["seccomp"]) as sandbox:
        (grade,) = sandbox.grade([Program("a", "x = 1", ("assert x == 1",))])
    assert "UNCONFINED as asked, without seccomp" in caplog.text
    assert "look at a file" in caplog.text
    assert grade.passed == (True,)
    assert "seccomp" not in grade.layers
    assert "rlimits" in grade.layers
    assert [p.what for p in sandbox.probes if not p.good]
    with pytest.raises(UserError, match="wanted some of seccomp"):
        Sandbox(without=["everything"])


def test_every_probe_is_refused(sandbox):
    assert len(sandbox.probes) == 12
    assert all(p.good for p in sandbox.probes)


def test_a_broken_exit_in_the_child_isnt_a_pass(monkeypatch):
    with pytest.raises(UserError, match="at least 1"):
        Sandbox(num_workers=0)


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests are unprivileged themselves already")
def test_unprivileged():
    """The whole of it as nobody: root is for nothing."""
    code = (
        "import json, os\nfrom gemma_align.sandbox import *\n"
        "with Sandbox(num_workers=2) as s:\n"
        "    g = s.grade([Program('a', 'def f(x):\\n    return x', ('assert f(1) == 1', 'assert f(1) == 2'), 'f')])\n"
        "    print(json.dumps([os.geteuid(), g[0].passed, g[0].layers, [p.good for p in s.probes]]))\n"
    )
    path = os.pathsep.join([str(SRC), *(p for p in sys.path if "site-packages" in p)])
    # A Python that lies in root's own folder is none of nobody's: then the system's does it
    system = [python for python in ("/usr/local/bin/python3", "/usr/bin/python3") if Path(python).exists()]
    python = sys.executable if nobody_may_run(sys.executable) else next(filter(nobody_may_run, system), None)
    if python is None:
        pytest.skip("nobody may run no Python of 3.11 or later")
    try:
        done = subprocess.run(
            [python, "-c", code],
            user=65534,
            group=65534,
            extra_groups=[],
            env={"PYTHONPATH": path, "PATH": os.defpath},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
        )
    except PermissionError:
        pytest.skip("nobody may not run this Python")
    if "No module named" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("nobody may not read this checkout")
    assert done.returncode == 0, done.stderr
    user, passed, layers, probes = json.loads(done.stdout)
    assert user == 65534
    assert passed == [True, False]
    assert {"seccomp", "rlimits", "unprivileged"} <= set(layers)
    assert all(probes)
