"""Grades programs that nobody trusts, in parallel, each in processes of its own. docs/sandbox.md tells how."""

import logging
import os
import queue
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from gemma_align.errors import UserError
from gemma_align.sandbox.filter import seccomp_filter
from gemma_align.sandbox.probes import Probe, probe
from gemma_align.sandbox.process import Zygote, ZygoteDied
from gemma_align.sandbox.records import LAYERS, Grade, Limits, Program, SandboxUnavailable

log = logging.getLogger(__name__)

ATTEMPTS = 3  # at a program whose zygote or judge ends for no reason of the program's


class Sandbox:
    """Zygotes, and threads that wait for them. A context manager; also closed by `close`."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        num_workers: int | None = None,
        without: Collection[str] = (),
    ) -> None:
        """Starts one zygote a worker, and lets a probe program try what it mustn't be able to do.

        Args:
            limits: of each program.
            num_workers: programs graded side by side; by default one a core.
            without: layers to do without, of `LAYERS`. Then a probe that gets through is only logged as a warning: for
                machines that can't confine, and programs that one would run unconfined.

        Raises:
            SandboxUnavailable: a layer is missing, a probe gets through, or a confined program can't even compute.
        """
        if unknown := set(without) - set(LAYERS):
            raise UserError(f"layers: wanted some of {', '.join(LAYERS)}, given {', '.join(sorted(unknown))}")
        if num_workers is not None and num_workers < 1:
            raise UserError(f"num_workers: at least 1 was wanted, given {num_workers}")
        if sys.platform != "linux":
            raise SandboxUnavailable(f"programs can be confined on Linux only, and this is {sys.platform}")
        self.limits = limits or Limits()
        self._off = frozenset(without)
        self._seccomp = b"" if "seccomp" in self._off else seccomp_filter()
        self._zygotes: list[Zygote] = []
        self._idle: queue.SimpleQueue[Zygote] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        wanted = num_workers or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(wanted, "sandbox")
        try:
            for zygote in self._pool.map(lambda _: self._start(), range(wanted)):
                self._idle.put(zygote)
                self._layers = zygote.layers
            self.probes = self._checked()
        except BaseException:
            self.close()
            raise

    @property
    def layers(self) -> tuple[str, ...]:
        """In force."""
        return self._layers

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the zygotes."""
        return tuple(zygote.pid for zygote in self._zygotes)

    def grade(self, programs: Sequence[Program]) -> list[Grade]:
        """One grade a program, in order.

        Raises:
            SandboxUnavailable: no process can be had any more.
        """
        return list(self.stream(programs))

    def stream(self, programs: Sequence[Program]) -> Iterator[Grade]:
        """The same, each as soon as it and those before it are there."""
        return self._pool.map(self._one, programs)

    def close(self) -> None:
        """Ends everything that was started."""
        with self._lock:
            self._closed = True
            zygotes = tuple(self._zygotes)
        for zygote in zygotes:
            zygote.close()
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> Zygote:
        zygote = Zygote(self._seccomp, self._off)
        with self._lock:
            self._zygotes.append(zygote)
            closed = self._closed
        if closed:
            zygote.close()
            raise SandboxUnavailable("the sandbox has been closed")
        return zygote

    def _one(self, program: Program) -> Grade:
        zygote = self._idle.get()
        why = ""
        try:
            for _ in range(ATTEMPTS):
                try:
                    if (grade := zygote.grade(program, self.limits)) is not None:
                        return grade
                    why = "the judge ended without a verdict"
                except ZygoteDied as error:
                    why = str(error)
                    if self._closed:
                        break
                    log.warning("a process of the sandbox ended (%s): starting another", why)
                    zygote.close()
                    with self._lock:
                        self._zygotes = [other for other in self._zygotes if other is not zygote]
                    zygote = self._start()
        finally:
            self._idle.put(zygote)
        if why == "the judge ended without a verdict":  # every time: then it is the program's answers that end it
            return self._lost(program, zygote, why)
        raise SandboxUnavailable(f"its processes keep ending: {why}")

    def _lost(self, program: Program, zygote: Zygote, why: str) -> Grade:
        none = len(program.tests)
        return Grade(program.id, True, True, (False,) * none, (why,) * none, False, why, 0.0, 0.0, zygote.layers)

    def _checked(self) -> tuple[Probe, ...]:
        grade = self._one(probe(self.limits))
        probes = tuple(Probe.of(grade))
        bad = [p.says for p in probes if not p.good]
        if not bad:
            return probes
        if self._off and grade.ran:
            log.warning("UNCONFINED as asked, without %s: %s", ", ".join(sorted(self._off)), "; ".join(bad))
            return probes
        raise SandboxUnavailable(
            f"programs can't be confined here: {'; '.join(bad)}. In force: {', '.join(grade.layers)}. "
            "Nothing is run unconfined unless asked for by name (without=...)"
        )
