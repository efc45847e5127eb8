"""What a run tells while it trains: metrics, times, memory, trackers, progress.

What is computed goes to metrics.jsonl and the trackers; what a clock or the operating system says goes to
timings.jsonl, so that metrics.jsonl is the same bytes for a resumed run as for an unbroken one.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import torch

from gemma_align.experiments.environment import utc_now
from gemma_align.experiments.run_dir import RunDir
from gemma_align.trainers.memory import peak_gpu_gb, peak_rss_gb
from gemma_align.trainers.progress import Bar, PlainProgress, Progress, choose_progress
from gemma_align.trainers.stability import Verdict
from gemma_align.trainers.trackers import Trackers, check_trackers

__all__ = ["Diagnostics", "PhaseTimes", "check_trackers", "peak_gpu_gb", "peak_rss_gb"]

NOT_TRAINING = ("eval", "checkpoint")  # phases that tokens per second leave out
_STATUS_SECONDS = 1.0
_SHOWN = {  # of a stage that samples
    "reward/total": "reward {:.2f}",
    "policy/kl": "KL {:.2f}",
    "policy/entropy": "entropy {:.2f}",
    "rollout/tokens": "length {:.0f}",
}
_PHASES = {"prepare": "rollouts", "update": "update"}  # told of a stage that samples
_RATE_UPDATES = 20  # updates over which the shown tokens per second are averaged


class PhaseTimes:
    """Seconds by phase: `with times("prepare"): ...`.

    A phase inside another is taken out of the outer one, so that phases add up to no more than the whole. On CUDA a
    phase ends when its work is queued, unless it waits for a result.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._began = self._since = time.perf_counter()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Charge what is done in the block to `phase`."""
        self._charge()
        self._open.append(phase)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def take(self) -> dict[str, float]:
        """Seconds of each phase, and in `total`, since this was last called."""
        self._charge()
        seconds = {**self._seconds, "total": self._since - self._began}
        self._seconds.clear()
        self._began = self._since
        return seconds

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self._seconds[self._open[-1]] += now - self._since
        self._since = now


class Diagnostics:
    """Logs of one run. Without a run folder (any process but the main one) it measures times and tells nothing.

    Args:
        run: the open run folder.
        trackers: names that accelerate knows, such as "tensorboard".
        project: the name under which trackers file the run.
        tracker_options: further arguments for a tracker's constructor, by its name.
        resumed_at: the step of the checkpoint that the run goes on from.
        progress: where bars go; by default standard output.
    """

    def __init__(
        self,
        run: RunDir | None,
        *,
        trackers: Sequence[str] = ("tensorboard",),
        project: str = "gemma-alignment",
        tracker_options: Mapping[str, Mapping[str, Any]] | None = None,
        resumed_at: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.timer = PhaseTimes()
        self._run = run
        self._trackers: Trackers | None = None
        self._shown: list[Progress] = []
        if run is not None:
            self._shown = [progress or choose_progress(), PlainProgress(run.note)]
            self._trackers = Trackers(
                trackers, run.paths, project=project, resumed_at=resumed_at, options=tracker_options
            )
        self._stage = ""
        self._step = resumed_at or 0
        self._done = 0
        self._bars: list[Bar] = []
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RATE_UPDATES)
        self._status_at = -float("inf")

    @contextmanager
    def stage(self, name: str, total: int, done: int = 0) -> Iterator[None]:
        """A stage of `total` updates, of which a resumed run has done `done`; `update` moves its bar."""
        self._stage, self._done = name, done
        self._recent.clear()
        self.timer.take()  # what came before belongs to no update
        self._set_status()
        with self._shown_bars(name, total, done) as self._bars:
            try:
                yield
                self._write_times(self.timer.take(), {})  # an evaluation or checkpoint after the last update
            finally:
                self._set_status()
                self._stage, self._bars = "", []

    @contextmanager
    def afterwards(self, name: str) -> Iterator[None]:
        """Work that comes after the stages, such as the last evaluation; the log of times has it under this name."""
        self._stage = name
        self.timer.take()
        try:
            yield
            self._write_times(self.timer.take(), {})
        finally:
            self._stage = ""

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar for anything else, such as an evaluation; the block gets a function to call with how many were done."""
        done = 0

        def advance(count: int = 1) -> None:
            nonlocal done
            done += count
            for bar in bars:
                bar.show(done)

        with self._shown_bars(name, total, 0) as bars:
            yield advance

    def update(self, step: int, metrics: Mapping[str, float], num_tokens: int) -> None:
        """After each update: its number in the whole run, its metrics, and the tokens it took in over all processes."""
        self._step = step
        self._done += 1
        seconds = self.timer.take()
        self.log(step, {**metrics, "tokens": num_tokens})
        training = seconds["total"] - sum(seconds.get(phase, 0.0) for phase in NOT_TRAINING)
        self._recent.append((num_tokens, training))
        self._write_times(seconds, {"tokens_per_second": num_tokens / max(training, 1e-9)})
        text = self._text(metrics, seconds)
        for bar in self._bars:
            bar.show(self._done, text)
        if time.monotonic() - self._status_at >= _STATUS_SECONDS:
            self._set_status()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """A line of metrics.jsonl and the trackers' share of it; for an evaluation, beside what `update` logs."""
        if self._run is None or self._trackers is None:
            return
        taken = {"step", "stage"} & set(metrics)
        if taken:
            raise ValueError(f"metrics can't be called {sorted(taken)}")
        self._run.metrics.append({"step": step, "stage": self._stage, **metrics})
        self._trackers.log(step, metrics)

    def verdict(self, step: int, verdict: Verdict) -> None:
        """What the stability monitor found: a line of metrics.jsonl, and one for people."""
        if self._run is not None:
            self._run.metrics.append({"step": step, "stage": self._stage, "verdict": asdict(verdict)})
        self.say(f"unstable: {verdict}")

    def say(self, text: str) -> None:
        """A line for people, on the screen and in run.log."""
        for progress in self._shown:
            progress.say(text)

    def close(self) -> None:
        """Finish the trackers."""
        if self._trackers is not None:
            self._trackers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _shown_bars(self, name: str, total: int, done: int) -> Iterator[list[Bar]]:
        bars = [progress.bar(name, total, done) for progress in self._shown]
        try:
            yield bars
        finally:
            for bar in bars:
                bar.close()

    def _text(self, metrics: Mapping[str, float], seconds_of: Mapping[str, float]) -> str:
        loss = next((value for name, value in metrics.items() if name.split("/")[0] == "loss"), None)
        rate = metrics.get("optimizer/learning_rate")
        tokens, seconds = (sum(column) for column in zip(*self._recent, strict=True))
        clipped = [metrics[name] for name in ("policy/clip_low", "policy/clip_high") if name in metrics]
        parts = [
            *(form.format(metrics[name]) for name, form in _SHOWN.items() if name in metrics),
            f"clipped {100 * sum(clipped):.0f} %" if clipped else "",
            f"loss {loss:.4f}" if loss is not None else "",
            f"lr {rate:.1e}" if rate is not None else "",
            f"{tokens / max(seconds, 1e-9):,.0f} tokens/s",
            *(f"{_PHASES[name]} {seconds_of.get(name, 0.0):.1f} s" for name in _PHASES if "rollout/tokens" in metrics),
            f"peak {peak_rss_gb():.1f} GB",
        ]
        return "  ".join(part for part in parts if part)

    def _write_times(self, seconds: Mapping[str, float], more: Mapping[str, float]) -> None:
        if self._run is None or (set(seconds) == {"total"} and not more):
            return
        record = {
            "step": self._step,
            "stage": self._stage,
            "time": utc_now(),
            "seconds": {phase: round(value, 6) for phase, value in seconds.items()},
            "peak_rss_gb": peak_rss_gb(),
        }
        if torch.cuda.is_initialized():
            record["peak_gpu_gb"] = peak_gpu_gb()
        self._run.timings.append(record | {name: round(value, 3) for name, value in more.items()})

    def _set_status(self) -> None:
        if self._run is not None:
            self._run.set_status(stage=self._stage, step=self._step)
            self._status_at = time.monotonic()
