"""Progress for people: a live bar on a terminal, a plain line every few seconds anywhere else."""

import os
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress


class Bar(Protocol):
    """One thing that is being done, of known length."""

    def show(self, done: int, text: str = "") -> None:
        """So much of it is done; `text` says how it goes."""
        ...

    def close(self) -> None:
        """It has ended, done or not."""
        ...


class Progress(Protocol):
    """Where bars are shown."""

    def bar(self, name: str, total: int, done: int = 0) -> Bar:
        """Begin a bar, of which `done` was done earlier."""
        ...

    def say(self, text: str) -> None:
        """A line that stays, above any bar."""
        ...


def choose_progress(stream: TextIO | None = None, every_seconds: float = 10.0) -> Progress:
    """Live where `stream` (standard output) is a terminal that can move its cursor, plain lines elsewhere."""
    stream = sys.stdout if stream is None else stream
    if stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        return LiveProgress(stream)
    return PlainProgress(_printer(stream), every_seconds)


def duration(seconds: float) -> str:
    """Such as 0:07, 12:03, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Pace:
    """Time left, from what was done since this process began the bar."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.start, self.since = total, done, time.monotonic()

    def left(self, done: int) -> str:
        if done <= self.start:
            return ""
        return duration((time.monotonic() - self.since) / (done - self.start) * (self.total - done))


class PlainProgress:
    """Lines without control characters, handed to `write`."""

    def __init__(self, write: Callable[[str], None], every_seconds: float = 10.0) -> None:
        self._write = write
        self._every = every_seconds

    def bar(self, name: str, total: int, done: int = 0) -> "_PlainBar":
        """See `Progress`."""
        return _PlainBar(self._write, self._every, name, total, done)

    def say(self, text: str) -> None:
        """See `Progress`."""
        self._write(text)


class _PlainBar:
    def __init__(self, write: Callable[[str], None], every: float, name: str, total: int, done: int) -> None:
        self._write, self._every, self._name = write, every, name
        self._pace = _Pace(total, done)
        self._written = -float("inf")  # when the last line was
        self._waiting: str | None = None

    def show(self, done: int, text: str = "") -> None:
        total = self._pace.total
        share = f"{done / total:4.0%}" if total else ""
        left = self._pace.left(done)
        parts = [self._name, f"{done}/{total}", share, text, f"left {left}" if left and done < total else ""]
        self._waiting = "  ".join(part for part in parts if part)
        if time.monotonic() - self._written >= self._every or done >= total:
            self._flush()

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._waiting is not None:
            self._write(self._waiting)
            self._written = time.monotonic()
            self._waiting = None


class LiveProgress:
    """Bars of `rich`, drawn as long as there is one."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._rich: RichProgress | None = None
        self._bars = 0

    def bar(self, name: str, total: int, done: int = 0) -> "_LiveBar":
        """See `Progress`."""
        if self._rich is None:
            self._rich = RichProgress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}", markup=False),
                console=self._console,
                refresh_per_second=2,  # drawing takes time from training
            )
            self._rich.start()
        self._bars += 1
        return _LiveBar(self._rich, self._closed, name, total, done)

    def say(self, text: str) -> None:
        """See `Progress`."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _closed(self) -> None:
        self._bars -= 1
        if self._bars == 0 and self._rich is not None:
            self._rich.stop()
            self._rich = None


class _LiveBar:
    def __init__(self, rich: RichProgress, closed: Callable[[], None], name: str, total: int, done: int) -> None:
        self._rich, self._closed = rich, closed
        self._pace = _Pace(total, done)
        self._task = rich.add_task(name, total=total, completed=done, text="")

    def show(self, done: int, text: str = "") -> None:
        left = self._pace.left(done)
        text = f"{text}  left {left}" if left and done < self._pace.total else text
        self._rich.update(self._task, completed=done, text=text)

    def close(self) -> None:
        self._rich.stop_task(self._task)
        self._closed()


def _printer(stream: TextIO) -> Callable[[str], None]:
    broken = False

    def write(text: str) -> None:
        nonlocal broken
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            if not broken:
                print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
        except (OSError, ValueError):  # a closed pipe or a full disk must not end a run; run.log has the lines too
            broken = True

    return write
