"""Attacks on the machine: none works, and most would without the layers."""

import logging
import os
import platform
import time

import pytest
from tests.sandbox import attacks

from gemma_align.sandbox import LAYERS, Limits, Program, Sandbox

DONE = ("assert attack() == 'done'",)


def attack(code: str, folder, listener, secret: str) -> Program:
    filled = code.format(
        folder=folder,
        secret=secret,
        tcp=listener.tcp,
        udp=listener.udp,
        unix=listener.unix,
        abstract=listener.abstract,
        host=os.getpid(),
    )
    return Program("attack", attacks.PREAMBLE + filled, DONE, "attack")


def traces(folder, listener) -> list[str]:
    """What can be seen from outside."""
    secret = folder / "secret"
    found = [name for name in ("effect",) if os.path.lexists(folder / name)]
    if not secret.exists():
        return [*found, "removed"]
    status = secret.stat()
    found += ["chmod"] if status.st_mode & 0o777 != 0o644 else []
    found += ["utime"] if status.st_mtime < 1e6 else []
    return found + listener.seen


@pytest.mark.parametrize("name", [*attacks.POSSIBLE, *attacks.IMPOSSIBLE])
def test_stopped(name, sandbox, folder, listener):
    secret = (folder / "secret").read_text()
    pids = sandbox.pids
    (grade,) = sandbox.grade([attack((attacks.POSSIBLE | attacks.IMPOSSIBLE)[name], folder, listener, secret)])
    assert grade.passed == (False,)
    assert grade.ran  # the attack was made, and not lost to a mistake in this file
    assert "SyntaxError" not in grade.reasons[0]
    assert "NameError" not in grade.reasons[0]
    if name == "a daemon":
        time.sleep(0.5)
    assert traces(folder, listener) == []
    assert sandbox.pids == pids


@pytest.fixture(scope="module")
def open_sandbox():
    log = logging.getLogger("gemma_align.sandbox")
    log.setLevel(logging.ERROR)  # it warns, as it should
    with Sandbox(Limits(cpu_seconds=5), num_workers=1, without=LAYERS) as made:
        log.setLevel(logging.NOTSET)
        yield made


@pytest.mark.parametrize("name", attacks.POSSIBLE)
def test_possible_without_the_layers(name, open_sandbox, folder, listener):
    secret = (folder / "secret").read_text()
    (grade,) = open_sandbox.grade([attack(attacks.POSSIBLE[name], folder, listener, secret)])
    assert grade.passed == (True,), grade.reasons
    assert grade.layers == tuple(layer for layer in grade.layers if layer in ("no-new-privs", "unprivileged"))
    if name in ("write a file", "a shell", "a daemon", "tcp", "udp", "unix", "abstract", "chmod", "utime", "remove"):
        deadline = time.monotonic() + 5
        while not traces(folder, listener) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert traces(folder, listener)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86_64")
def test_system_calls_by_number(sandbox):
    code = attacks.PREAMBLE + (
        f"CALLS = {attacks.CALLS!r}\n\n"
        "def refused(name):\n"
        "    return LIBC.syscall(CALLS[name], 0, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1\n"
    )
    tests = tuple(f"assert refused({name!r})" for name in attacks.CALLS)
    (grade,) = sandbox.grade([Program("calls", code, tests, "refused")])
    assert [name for name, passed in zip(attacks.CALLS, grade.passed, strict=True) if not passed] == []


@pytest.mark.parametrize("layer", ["seccomp", "landlock"])
def test_either_layer_alone_keeps_files_closed(layer, folder, listener):
    """Two walls: where one falls, nothing is read or written."""
    secret = (folder / "secret").read_text()
    names = ("read a secret", "write a file", "list a folder", "fill the disk", "tcp")
    with Sandbox(num_workers=1, without=[name for name in ("seccomp", "landlock") if name != layer]) as sandbox:
        if layer == "landlock" and not any("landlock" in name for name in sandbox.layers):
            pytest.skip("this kernel has no Landlock")
        grades = sandbox.grade([attack(attacks.POSSIBLE[name], folder, listener, secret) for name in names])
    assert [grade.passed for grade in grades] == [(False,)] * len(names)
    assert traces(folder, listener) == []
