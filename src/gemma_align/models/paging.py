"""Weights that are mapped from a file needn't stay in memory while nobody reads them."""

import contextlib
import ctypes
import mmap
import os
import sys
from collections.abc import Iterable

import numpy as np
from torch import Tensor

_MADV_DONTNEED = 4  # of asm-generic/mman-common.h
_IN_MEMORY, _SWAPPED, _OF_A_FILE = (np.uint64(1 << bit) for bit in (63, 62, 61))  # of /proc/PID/pagemap


def page_out(weights: Iterable[Tensor]) -> None:
    """Let go of these weights' pages until they are read again. Linux; elsewhere nothing happens.

    Only where every page is an unchanged copy of a file's: anything else would be lost, so it stays. The file stays in
    the system's cache, and reading a page again is a fault and no read of the disk. (MADV_PAGEOUT, which is safe for
    any memory, throws pages out of that cache too, and leaves those alone that another process has mapped.)
    """
    if sys.platform != "linux":
        return
    page = mmap.PAGESIZE
    with contextlib.suppress(OSError, AttributeError):  # no such file, another C library
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            for weight in weights:
                if weight.device.type != "cpu":
                    continue
                first = -(-weight.data_ptr() // page)
                num_pages = (weight.data_ptr() + weight.nbytes) // page - first
                if num_pages > 0 and _of_a_file(pagemap.fileno(), first, num_pages):
                    madvise(first * page, num_pages * page, _MADV_DONTNEED)


def _of_a_file(pagemap: int, first: int, num_pages: int) -> bool:
    """Whether none of these pages is the process's own: written to, or never a file's."""
    pages = np.frombuffer(os.pread(pagemap, 8 * num_pages, 8 * first), np.uint64)
    own = (pages & (_IN_MEMORY | _OF_A_FILE) == _IN_MEMORY) | (pages & _SWAPPED != 0)
    return len(pages) == num_pages and not own.any()
