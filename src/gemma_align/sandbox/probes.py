"""What a confined program is let try before any other is run: it goes the way that every program goes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from gemma_align.sandbox.records import Grade, Limits, Program

CONTROL = "computes"  # the positive control: a sandbox in which nothing works refuses everything too

_CODE = """
import ctypes, errno, math, mmap, os, socket

LIBC = ctypes.CDLL(None, use_errno=True)


def refused(action):
    try:
        got = action()
    except OSError as error:
        return "refused" if error.errno in (1, 13) else f"{error}"
    return f"done: {got!r}"[:100]


def system(name, *arguments):
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def forks():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def executable_memory():
    LIBC.mmap.restype = ctypes.c_ssize_t
    system("mmap", None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_ssize_t(0))


def too_much():
    try:
        return len(mmap.mmap(-1, MEMORY))
    except OSError as error:
        raise PermissionError(1, "too much") if error.errno == errno.ENOMEM else error


def environment():
    if set(os.environ) <= {"PYTHONHASHSEED", "LC_CTYPE"}:
        raise PermissionError(1, "nothing there")
    return sorted(os.environ)


ACTIONS = {
    "open a file": lambda: open("/etc/passwd").close(),
    "list a folder": lambda: os.listdir("/"),
    "look at a file": lambda: os.stat("/"),
    "make a socket": lambda: socket.socket().close(),
    "fork": forks,
    "start a program": lambda: os.execv("/bin/true", ["true"]),
    "signal its parent": lambda: os.kill(os.getppid(), 0),
    "trace its parent": lambda: system("ptrace", 16, os.getppid(), 0, 0),
    "make memory that is code": executable_memory,
    "see an environment": environment,
    "take more memory than it may": too_much,
}


def attempt(what):
    return refused(ACTIONS[what])


def computes(n):
    return [math.isqrt(i) for i in range(n)], len(bytearray(2**26)), "%.3f" % math.pi
"""
REFUSED = (
    "open a file",
    "list a folder",
    "look at a file",
    "make a socket",
    "fork",
    "signal its parent",
    "trace its parent",
    "make memory that is code",
    "see an environment",
    "take more memory than it may",
    "start a program",  # last: one that can takes the probes with it
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing tried.

    what    in words
    good    refused; of the positive control: done
    detail  what came of it where it isn't good
    """

    what: str
    good: bool
    detail: str

    @property
    def says(self) -> str:
        """In words, for people."""
        if self.what == CONTROL:
            return "a confined program computes" if self.good else f"a confined program can't compute ({self.detail})"
        return f"can't {self.what}" if self.good else f"a program could {self.what} ({self.detail})"

    @classmethod
    def of(cls, grade: Grade) -> Iterator[Self]:
        """The probes that the grade of `probe()` tells of."""
        rows = zip((CONTROL, *REFUSED), grade.passed, grade.reasons, strict=True)
        for what, passed, reason in rows:
            yield cls(what, passed is True, (reason or grade.error).removeprefix("AssertionError: "))


def probe(limits: Limits) -> Program:
    """The program that tries, and a test for each thing: first the control, then `REFUSED`."""
    control = "assert computes(50) == ([int(i ** 0.5) for i in range(50)], 2 ** 26, '3.142')"
    tests = [f"said = attempt({what!r})\nassert said == 'refused', said" for what in REFUSED]
    return Program("probe", f"MEMORY = {2 * limits.memory_bytes}\n{_CODE}", (control, *tests), "computes")
