"""A disk that is really full: a file system in memory, in a name space of a child's own, which nobody else sees.

Linux, where users may have name spaces.
"""

import ctypes
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.errors import BenchmarkError

_NEW_USERS, _NEW_MOUNTS, _REMOUNT = 0x10000000, 0x00020000, 32
_libc = ctypes.CDLL(None, use_errno=True)


class SmallDisk:
    """Mounted at a folder; for a process that is alone in its name space."""

    def __init__(self, folder: Path, num_bytes: int) -> None:
        folder.mkdir(parents=True)
        user, group = os.getuid(), os.getgid()
        _checked(_libc.unshare(_NEW_USERS | _NEW_MOUNTS))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        self.folder = folder
        self._mount(0, num_bytes)

    def resize(self, num_bytes: int) -> None:
        self._mount(_REMOUNT, num_bytes)

    def _mount(self, flags: int, num_bytes: int) -> None:
        options = f"size={num_bytes}".encode()
        _checked(_libc.mount(b"chaos", os.fsencode(self.folder), b"tmpfs", flags, options))


def on_small_disk(folder: Path, num_bytes: int, work: Callable[[SmallDisk], str]) -> str:
    """What `work` says, done in a child that alone sees the disk.

    Raises:
        BenchmarkError: no disk can be mounted here.
    """
    answer = folder.with_suffix(".json")
    pid = os.fork()
    if pid == 0:
        try:
            try:
                disk = SmallDisk(folder, num_bytes)
            except OSError as error:
                answer.write_text(json.dumps({"mounted": False, "says": str(error)}))
                os._exit(0)
            answer.write_text(json.dumps({"mounted": True, "says": work(disk)}))
        except BaseException:
            answer.write_text(json.dumps({"mounted": True, "says": traceback.format_exc()}))
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    found = json.loads(answer.read_text())
    if not found["mounted"]:
        raise BenchmarkError(f"no small disk can be mounted here: {found['says']}")
    return str(found["says"])


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
