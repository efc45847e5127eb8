"""Landlock: no file and no connection, enforced by the kernel on a process for good (man 7 landlock)."""

import ctypes
import os
import struct

_CREATE, _RESTRICT = 444, 446  # the same numbers on every architecture
_VERSION = 1
_FILES = {1: 13, 2: 14, 3: 15, 5: 16}  # rights on files that each version knows, as a number of bits
_LIBC = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Of the kernel's Landlock; 0 where there is none."""
    return max(int(_LIBC.syscall(_CREATE, None, 0, _VERSION)), 0)


def ruleset() -> int:
    """A descriptor of rules that leave nothing: no right on any file, no TCP, no abstract sockets or signals out of
    here, as far as the version goes. -1 where the kernel has no Landlock.

    Raises:
        OSError: there is one, and it refuses.
    """
    abi = version()
    if not abi:
        return -1
    files = (1 << max(bits for at, bits in _FILES.items() if at <= abi)) - 1
    attributes = struct.pack("Q", files)
    if abi >= 4:
        attributes += struct.pack("Q", 3)  # bind and connect
    if abi >= 6:
        attributes += struct.pack("Q", 3)  # abstract unix sockets, signals
    rules = int(_LIBC.syscall(_CREATE, attributes, len(attributes), 0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock is there and makes no rules")
    os.set_inheritable(rules, False)
    return rules


def restrict(rules: int) -> None:
    """Puts the rules on this process for good.

    Raises:
        OSError: refused.
    """
    if _LIBC.syscall(_RESTRICT, rules, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock refuses its rules")
