"""Processes that run the command line and are there at once: everything is imported before they are forked.

The parent imports and computes nothing, so a child is what a process of its own is after its imports. Each method's
unbroken run is made by a real process, and all others have to end in its bits.
"""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmarks.kept import ROOT

Fault = Callable[[], Callable[[], None] | None]  # put in place in the child; what it gives back is called at the end
LATE = 300.0  # seconds after which a run is taken to hang, on a busy machine


@dataclass(frozen=True, slots=True)
class Ended:
    """`status` as of an exit, or minus the signal of a kill; `said` is all of the output."""

    status: int
    said: str
    seconds: float

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def clear(self) -> bool:
        """An error that is the user's to mend, told as one."""
        return self.status == 2 and "error: " in self.said and "Traceback" not in self.said


class Life:
    """One process of a run."""

    def __init__(self, arguments: Sequence[str], log: Path, fault: Fault | None = None) -> None:
        """Begins it; `fault` is put in place first, in the child alone."""
        self._log, self._began = log, time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _live(arguments, log, fault)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self, within: float = LATE) -> Ended | None:
        """Waits for the end; None if it doesn't come in time."""
        deadline = time.monotonic() + within
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                said = self._log.read_text(errors="replace")
                return Ended(os.waitstatus_to_exitcode(status), said, time.monotonic() - self._began)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.002)

    def end(self) -> Ended:
        """Waits for the end. RuntimeError where it hangs; it is ended then."""
        found = self.ended()
        if found is None:
            self.send(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise RuntimeError(f"a run hung for {LATE:g} s: {self._log.read_text(errors='replace')[-2000:]}")
        return found


def real_run(arguments: Sequence[str]) -> Ended:
    """The same in a process that begins with nothing imported."""
    began = time.monotonic()
    command = [sys.executable, "-m", "gemma_align", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LATE)
    return Ended(done.returncode, done.stdout + done.stderr, time.monotonic() - began)


def import_what_runs_import(arguments: Sequence[str], log: Path) -> None:
    """Of a run that is made for it."""
    import torch

    torch.set_num_threads(1)
    import gemma_align.experiments.runner  # noqa: F401

    names = log.with_suffix(".modules")
    ended = Life(arguments, log, lambda: lambda: _write_modules(names)).end()
    assert ended.status == 0, ended.said
    for name in names.read_text().split("\n"):
        with contextlib.suppress(Exception):  # some modules can't be had by themselves
            importlib.import_module(name)


def _write_modules(path: Path) -> None:
    path.write_text("\n".join(sorted(sys.modules)))


def _live(arguments: Sequence[str], log: Path, fault: Fault | None) -> NoReturn:
    status, leave = 1, None
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        from gemma_align.cli import main

        leave = fault() if fault is not None else None
        main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        if leave is not None:
            leave()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
