"""Ctrl-C and SIGTERM: the first asks for an orderly end, the second is an end at once.

While updates are done (`held`), an orderly end is: finish this update, save, stop. Anywhere else what is done is on the
disk already, and the first signal ends the run where it is.

A launcher or `timeout` passes on to its processes what a terminal has sent them too, so a signal within a second of the
last one is the same request and not a second one.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from gemma_align.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_REQUEST = 1.0  # seconds


class Interrupts:
    """Takes the signals while its block runs, in the main thread; elsewhere it changes nothing.

    Attributes:
        asked: the signal of the first request.
        go_on: how a user goes on afterwards, for messages.
    """

    def __init__(self, go_on: str) -> None:
        self.asked: signal.Signals | None = None
        self.go_on = go_on
        self._last = -_SAME_REQUEST
        self._held = False
        self._told = False
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def held(self, *, told: bool) -> Iterator[None]:
        """In the block the first signal is only noted, for the block to look at `asked`; `told`: it is answered."""
        self._held, self._told = True, told
        try:
            yield
        finally:
            self._held = False
        if self.asked is not None:  # it came after the block had looked for the last time
            self.stop()

    def stop(self, done: str = "") -> NoReturn:
        """Ends the run; `done` tells what was reached."""
        number = self.asked or signal.SIGTERM  # none here where another process was asked
        raise Interrupted(f"stopped by {number.name}{done}. {self.go_on}", 128 + number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # One that is ignored stays so: a program put into the background is not meant by Ctrl-C
            wanted = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._take) for number in wanted}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, _frame: FrameType | None) -> None:
        again, now = self.asked is not None, time.monotonic()
        if now - self._last < _SAME_REQUEST:
            return
        self.asked, self._last = signal.Signals(number), now
        if self._held and not again:
            if self._told:  # os.write, because a print may be what was interrupted
                os.write(2, b"\nfinishing this update and saving; the same signal again stops at once\n")
            return
        self.stop(" at once" if again else "")
