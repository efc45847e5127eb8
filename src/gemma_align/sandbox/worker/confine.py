"""What a forked child does to itself before it runs a byte of somebody else's code."""

import contextlib
import ctypes
import os
import resource
import signal
import struct

from . import landlock

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
_MODE_FILTER = 2
_NOBODY = 65534
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIMITS = {
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_MEMLOCK: 0,
    resource.RLIMIT_MSGQUEUE: 0,
}


class _Program(ctypes.Structure):
    """struct sock_fprog: the number of 8-byte instructions, and where they are."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def calm_process() -> bool:
    """For the parent of the children: nothing to gain by exec, nothing to read for other processes.

    Root becomes nobody, so that nothing here depends on being unprivileged by luck; returns whether the process is
    unprivileged now (in some containers root has nobody to become).
    """
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        except OSError:
            pass
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)  # changing the user resets it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return os.geteuid() != 0


def trim() -> None:
    """Gives freed memory back to the kernel, so that a fork has less to copy; where the C library knows how."""
    with contextlib.suppress(AttributeError):
        _LIBC.malloc_trim(0)


class Cage:
    """The layers, made ready once by the parent so that every child puts them on quickly."""

    def __init__(self, seccomp: bytes, off: frozenset[str]) -> None:
        """
        Args:
            seccomp: the filter, as the kernel takes it.
            off: layers to leave out.

        Raises:
            OSError: the kernel has Landlock and refuses it.
        """
        self._off = off
        self._rules = -1 if "landlock" in off else landlock.ruleset()
        self._instructions = ctypes.create_string_buffer(seccomp, len(seccomp))
        self._filter = _Program(len(seccomp) // struct.calcsize("HBBI"), ctypes.addressof(self._instructions))

    @property
    def layers(self) -> list[str]:
        """By name."""
        names = ["seccomp", "rlimits"]
        kept = [name for name in names if name not in self._off]
        return kept + ([f"landlock {landlock.version()}"] if self._rules >= 0 else [])

    def confine(self, keep: tuple[int, ...], parent: int, cpu_seconds: int, memory_bytes: int) -> None:
        """Confines this process for good.

        Args:
            keep: descriptors that stay open; all others but 0, 1 and 2 (which lead nowhere) are closed.
            parent: pid; this process dies with it.
            cpu_seconds: after which the kernel ends it.
            memory_bytes: of address space.

        Raises:
            OSError: a layer was refused.
        """
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        if self._rules >= 0:
            landlock.restrict(self._rules)
        at = 3
        for fd in sorted(keep):
            os.closerange(at, fd)
            at = fd + 1
        os.closerange(at, 65536)
        if "rlimits" not in self._off:
            for which, value in _LIMITS.items():
                resource.setrlimit(which, (value, value))
            resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
        if "seccomp" not in self._off:
            _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(self._filter))


def _prctl(option: int, value: int, pointer: object = 0) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), pointer, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}) was refused: {os.strerror(number)}")
