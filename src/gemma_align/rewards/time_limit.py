"""A time limit on a function that somebody else wrote.

An alarm raises inside the function, so it is really ended: a loop, a wait, and a regular expression that backtracks for
ever, which a thread with a timeout could neither end nor even notice. C code that never looks at signals can't be ended
by it, and outside the main thread, where Python lets nobody set an alarm, there is no limit.
"""

import signal
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_AGAIN = 1.0  # seconds until the next alarm, for a function that catches everything and goes on


class _Expired(BaseException):
    """Not an `Exception`, which the function might take for one of its own."""


def limited(function: Callable[P, R], seconds: float) -> Callable[P, R]:
    """The function, with a TimeoutError where it takes longer."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if threading.current_thread() is not threading.main_thread():
            return function(*args, **kwargs)
        before = signal.signal(signal.SIGALRM, _expire)
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
            try:
                return function(*args, **kwargs)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _Expired:
            raise TimeoutError(f"it took longer than {seconds:g} s") from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return call


def _expire(*_: object) -> None:
    raise _Expired
