"""Folders are built once: by one of many processes, after a kill, after damage."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock, Timeout

from gemma_align.errors import CheckpointError
from gemma_align.models import cache
from gemma_align.models.cache import build_once, cache_root, problem_with
from gemma_align.models.fingerprint import file_sha256

SOURCE = Path(cache.__file__).parents[2]

BUILDER = """
import os, sys, time
from pathlib import Path
from gemma_align.models.cache import build_once
target, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def build(part):
    (part / "first").write_text("half")
    with log.open("a") as file:
        file.write("started\\n")
    time.sleep(seconds)
    (part / "second").write_text("whole")
    with log.open("a") as file:
        file.write("finished\\n")

build_once(target, build)
assert (target / "second").read_text() == "whole"
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_ALIGN_CACHE", str(tmp_path / "cache"))


def start(target: Path, log: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(target), str(log), str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(log: Path, line: str) -> None:
    deadline = time.monotonic() + 60
    while not (log.is_file() and line in log.read_text()):
        assert time.monotonic() < deadline, f"never {line}"
        time.sleep(0.02)


def fill(part: Path) -> None:
    (part / "a").write_bytes(b"weights")
    (part / "sub").mkdir()
    (part / "sub" / "b").write_bytes(b"tokenizer")


def nothing(_: Path) -> None:
    pytest.fail("built although nothing was missing")


def test_processes_that_start_together_build_once(tmp_path: Path) -> None:
    target, log = tmp_path / "cache" / "model", tmp_path / "log"
    first = start(target, log, 3.0)
    wait_for(log, "started")
    others = [start(target, log, 3.0) for _ in range(2)]
    messages = [process.communicate(timeout=120)[1] for process in (first, *others)]
    assert [process.returncode for process in (first, *others)] == [0, 0, 0], messages
    assert log.read_text().splitlines() == ["started", "finished"]
    assert problem_with(target) is None


def test_killed_in_the_middle_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    target, log = tmp_path / "cache" / "model", tmp_path / "log"
    victim = start(target, log, 60)
    wait_for(log, "started")
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate(timeout=60)
    left = list(target.parent.glob(".model.part-*"))
    assert [(path / "first").read_text() for path in left] == ["half"]
    assert problem_with(target) == "it does not exist"

    build_once(target, fill)  # the dead process's lock is free, and what it left is swept up
    assert problem_with(target, hashes="fresh") is None
    assert not list(target.parent.glob(".model.part-*"))


def test_a_waiting_process_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    target, log = tmp_path / "cache" / "model", tmp_path / "log"
    victim = start(target, log, 60)
    wait_for(log, "started")
    heir = start(target, log, 0.0)
    assert heir.stderr is not None
    assert "waiting" in heir.stderr.readline()
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate(timeout=60)
    heir.communicate(timeout=60)
    assert heir.returncode == 0
    assert (target / "second").read_text() == "whole"


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model"
    held: list[FileLock] = []

    def look(part: Path) -> None:
        lock = FileLock(target.parent / ".model.lock")
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
        held.append(lock)
        fill(part)

    build_once(target, look)
    held[0].acquire(timeout=0)
    held[0].release()


def test_a_built_folder_is_not_built_again(tmp_path: Path) -> None:
    target = build_once(tmp_path / "cache" / "model", fill)
    assert (target / "sub" / "b").read_bytes() == b"tokenizer"
    assert build_once(target, nothing) == target


def flip_a_byte(target: Path) -> None:
    stat = (target / "a").stat()
    (target / "a").write_bytes(b"wEights")
    os.utime(target / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as bad memory or a bad disk would


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda target: (target / "a").write_bytes(b"weigh"), "a has 5 bytes instead of 7"),
        (flip_a_byte, "a has changed since it was written"),
        (lambda target: (target / "sub" / "b").unlink(), "sub/b is missing"),
        (lambda target: (target / "manifest.json").unlink(), "its manifest.json is missing"),
        (lambda target: (target / "manifest.json").write_text('{"format": 1, "fi'), "its manifest.json can't be read"),
        (lambda target: (target / "manifest.json").write_text("[1]"), "its manifest.json can't be read"),
        (
            lambda target: (target / "manifest.json").write_text('{"format": 9}'),
            "its manifest.json has format 9, not 1",
        ),
    ],
)
def test_damage_is_seen_said_and_repaired(tmp_path: Path, damage: Callable[[Path], None], problem: str) -> None:
    target = build_once(tmp_path / "cache" / "model", fill)
    damage(target)
    assert problem_with(target) == problem
    said: list[str] = []
    build_once(target, fill, notify=said.append)
    assert problem in said[0]
    assert problem_with(target, hashes="fresh") is None
    assert [path.name for path in target.parent.iterdir() if ".model." in path.name] == [".model.lock"]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model"

    def fail(part: Path) -> None:
        fill(part)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(target, fail)
    assert [path.name for path in target.parent.iterdir()] == [".model.lock"]
    build_once(target, fill)


def test_a_full_disk_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=200_000_000))
    with pytest.raises(CheckpointError, match=r"needs 1\.4 GB of disk space in .*, and 0\.2 GB are free"):
        build_once(tmp_path / "cache" / "model", nothing, num_bytes=1_400_000_000)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"can't be written .*GEMMA_ALIGN_CACHE"):
        build_once(tmp_path / "file" / "model", nothing)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "cache"
    monkeypatch.delenv("GEMMA_ALIGN_CACHE")
    assert cache_root() == tmp_path / "xdg" / "gemma-align"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == tmp_path / ".cache" / "gemma-align"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / ".cache" / "gemma-align"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    with pytest.raises(CheckpointError, match="GEMMA_ALIGN_CACHE"):
        cache_root()


def test_a_remembered_digest_is_dropped_when_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gemma_align.models.fingerprint.WORTH_REMEMBERING", 0)
    file, memory = tmp_path / "a", tmp_path / "memory"
    file.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert file_sha256(file, memory) == abc
    (note,) = memory.iterdir()
    note.write_text("0" * 64)
    assert file_sha256(file, memory) == "0" * 64  # it was remembered, not read
    assert file_sha256(file) == abc
    stat = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file_sha256(file, memory) not in (abc, "0" * 64)
    note.write_text("not a digest")
    assert file_sha256(file, memory) == file_sha256(file)
