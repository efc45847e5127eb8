"""What a forked child does to itself before it runs a byte of somebody else's code."""

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


def confine(
    keep: tuple[int, ...], parent: int, cpu_seconds: int, memory_bytes: int, seccomp: bytes, off: frozenset[str]
) -> None:
    """Confines this process for good.

    Args:
        keep: descriptors that stay open; all others but 0, 1 and 2 (which lead nowhere) are closed.
        parent: pid; this process dies with it.
        cpu_seconds: after which the kernel ends it.
        memory_bytes: of address space.
        seccomp: the filter, as the kernel takes it.
        off: layers to leave out.

    Raises:
        OSError: a layer was refused.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    at = 3
    for fd in sorted(keep):
        os.closerange(at, fd)
        at = fd + 1
    os.closerange(at, 65536)
    if "rlimits" not in off:
        limits = {
            resource.RLIMIT_AS: memory_bytes,
            resource.RLIMIT_FSIZE: 0,
            resource.RLIMIT_NOFILE: 64,
            resource.RLIMIT_NPROC: 0,
            resource.RLIMIT_MEMLOCK: 0,
            resource.RLIMIT_MSGQUEUE: 0,
        }
        for which, value in limits.items():
            resource.setrlimit(which, (value, value))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    if "landlock" not in off:
        landlock.deny_everything()
    if "seccomp" not in off:
        instructions = ctypes.create_string_buffer(seccomp, len(seccomp))
        program = _Program(len(seccomp) // struct.calcsize("HBBI"), ctypes.addressof(instructions))
        _prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))


def _prctl(option: int, value: int, pointer: object = 0) -> None:
    if _LIBC.prctl(option, ctypes.c_ulong(value), pointer, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")
