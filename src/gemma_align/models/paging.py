"""Weights that are mapped from a file needn't stay in memory while nobody reads them."""

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Iterable

from torch import Tensor

_MADV_PAGEOUT = 21  # Linux 5.4; of asm-generic/mman-common.h


def page_out(weights: Iterable[Tensor]) -> None:
    """Ask the system to drop these weights' pages until they are read again. Linux; elsewhere nothing happens.

    Safe for any memory: pages that are no unchanged copy of a file stay, or go to swap where there is some, and pages
    that another process has mapped too stay (they count in the resident memory of both, and are there once). Reading
    a page again costs a fault, and the disk only if the file has left the system's cache meanwhile.
    """
    if sys.platform != "linux":
        return
    page = mmap.PAGESIZE
    with contextlib.suppress(OSError, AttributeError):  # another C library
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for weight in weights:
            if weight.device.type == "cpu":
                start = -(-weight.data_ptr() // page) * page
                end = (weight.data_ptr() + weight.nbytes) // page * page
                if end > start:
                    madvise(start, end - start, _MADV_PAGEOUT)
