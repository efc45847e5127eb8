"""Freed memory goes back to the system: glibc's heap would keep more of it than a whole model takes."""

import contextlib
import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # of malloc.h


def keep_heap_compact() -> None:
    """Give large blocks back to the system as soon as they are free. glibc only; elsewhere nothing is done.

    By default glibc takes its cue from the largest block that was ever freed and keeps ever larger ones in a heap that
    rows of changing length cut to pieces: 1.3 GB of free blocks lay in it after 16 microbatches. From 9 MiB on, blocks
    are now mapped one by one. Smaller ones, a slice of logits (8 MiB) and most activations of a microbatch among them,
    cost more in page faults than they give back: with 2 MiB an update took a tenth longer and 0.07 GB less.
    """
    _glibc("mallopt", _M_MMAP_THRESHOLD, 9 * 2**20)


def release_free_memory() -> None:
    """Give the heap's free pages back to the system: after a microbatch, after sampling; milliseconds. glibc only."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            getattr(ctypes.CDLL("libc.so.6"), function)(*arguments)
