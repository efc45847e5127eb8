"""Peak memory, in units of 10^9 bytes."""

import contextlib
import ctypes
import sys
from pathlib import Path

_M_MMAP_THRESHOLD = -3  # of malloc.h


def peak_rss_gb() -> float:
    """The most memory that this process has had resident. Linux and macOS."""
    try:
        # Linux carries ru_maxrss over from the parent through fork and exec; VmHWM is this program's own.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(kibibytes) * 1024 / 1e9
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def peak_gpu_gb() -> float:
    """The most memory that tensors have taken on the current CUDA device."""
    import torch

    return torch.cuda.max_memory_allocated() / 1e9


def keep_heap_compact() -> None:
    """Give large blocks back to the system as soon as they are free. glibc only; elsewhere nothing is done.

    By default glibc takes its cue from the largest block that was ever freed and keeps ever larger ones in a heap that
    rows of changing length cut to pieces: 1.3 GB of free blocks lay in it after 16 microbatches. From 2 MiB on, blocks
    are now mapped one by one; mapping smaller ones too costs a fifth of the speed in page faults.
    """
    _glibc("mallopt", _M_MMAP_THRESHOLD, 2 * 2**20)


def release_free_memory() -> None:
    """Give the heap's free pages back to the system: once a microbatch, some milliseconds. glibc only."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
