"""The seccomp filter: system calls that a program may make, by name; everything else answers EPERM.

libseccomp writes it (its numbers, its architectures); the kernel runs it before every system call (man 2 seccomp).
"""

import errno
import os
from functools import lru_cache

from gemma_align.sandbox.records import SandboxUnavailable

_PROT_EXEC, _AF_UNIX, _FIONBIO = 4, 1, 0x5421

# What is open already (its socket to the judge, the null device, pairs of sockets of its own); memory; the process
# itself; the machine and its clocks.
_NAMES = """
read write close lseek fstat poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait
brk munmap mremap madvise membarrier
futex set_robust_list rseq rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall
getpid gettid getuid geteuid getgid getegid sched_yield sched_getaffinity getrusage times exit exit_group
uname sysinfo getrandom time gettimeofday clock_gettime clock_getres nanosleep clock_nanosleep
alarm getitimer setitimer
"""
ALLOWED = tuple(_NAMES.split())


@lru_cache(maxsize=1)
def seccomp_filter() -> bytes:
    """The filter for this machine, as the kernel takes it.

    Raises:
        SandboxUnavailable: no libseccomp.
    """
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: the package is there and the library isn't
        raise SandboxUnavailable(
            f"no libseccomp ({error}), which writes the filter of system calls: "
            "install it (Debian and Ubuntu: apt install libseccomp2) and the Python package pyseccomp"
        ) from error
    try:
        rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
        for name in ALLOWED:
            rules.add_rule(pyseccomp.ALLOW, name)
        for name in ("mmap", "mprotect"):  # no memory that is code
            rules.add_rule(pyseccomp.ALLOW, name, pyseccomp.Arg(2, pyseccomp.MASKED_EQ, _PROT_EXEC, 0))
        # asyncio's pipe to itself
        rules.add_rule(pyseccomp.ALLOW, "ioctl", pyseccomp.Arg(1, pyseccomp.EQ, _FIONBIO))
        rules.add_rule(pyseccomp.ALLOW, "socketpair", pyseccomp.Arg(0, pyseccomp.EQ, _AF_UNIX))
        with open(os.memfd_create("seccomp"), "w+b") as file:  # also where no folder can be written to
            rules.export_bpf(file)
            file.seek(0)
            return file.read()
    except OSError as error:
        raise SandboxUnavailable(f"libseccomp has no filter for this machine: {error}") from error
