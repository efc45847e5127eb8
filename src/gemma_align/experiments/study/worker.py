"""A cell's process: its command in an interpreter of its own, on cores of its own, what it says in a file.

On Linux it is forked from a process that has imported everything and done nothing yet, since importing takes longer
than a small cell. Elsewhere every cell imports for itself.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path


class Worker:
    """One that was started. If this process is killed, it goes on by itself."""

    def __init__(self, arguments: Sequence[str], cores: Sequence[int], log: Path) -> None:
        """Begins at once.

        Args:
            arguments: of `gemma-align`.
            cores: numbers of those it may use; threads that share a core wait for each other.
            log: what it prints is added here.
        """
        given = (list(arguments), list(cores), log, dict(os.environ))
        self._process: BaseProcess
        if sys.platform == "linux":
            forked = multiprocessing.get_context("forkserver")
            forked.set_forkserver_preload(["gemma_align.experiments.study.server"])
            self._process = forked.Process(target=_work, args=given)
        else:
            self._process = multiprocessing.get_context("spawn").Process(target=_work, args=given)
        self._process.start()

    @property
    def status(self) -> int | None:
        """As a shell knows it, negative after a signal; None: it is still running."""
        return self._process.exitcode

    def ask_to_end(self) -> None:
        """It saves what it has done and leaves."""
        self._process.terminate()

    def end(self, timeout: float) -> None:
        """Waits for so many seconds, and then kills it."""
        self._process.join(timeout)
        self._process.kill()
        self._process.join()


def _work(arguments: list[str], cores: list[int], log: Path, environment: Mapping[str, str]) -> None:
    """In the new process. What the process it was forked from has of the caller may be old, so all of it is given."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment, OMP_NUM_THREADS=str(len(cores)))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    sys.argv = ["gemma-align", *arguments]

    import torch

    from gemma_align.cli import main

    torch.set_num_threads(len(cores))
    main(arguments)
