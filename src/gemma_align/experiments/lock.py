"""A lock on a folder that can't be left behind: the kernel gives it back when its process ends, however it ends."""

import fcntl
import json
import os
import platform
import time
import weakref
from pathlib import Path

from gemma_align.errors import RunDirError


class FolderLock:
    """An exclusive `flock` on a file. Its content only says who holds it, for the message to the second process."""

    def __init__(self, path: Path, remedy: str = "output_dir=…") -> None:
        """Take the lock. RunDirError if another process, or another part of this one, has it.

        `remedy` is how the user names another folder.
        """
        self.path = path
        self.remedy = remedy
        self._descriptor: int | None = None
        while self._descriptor is None:
            self._descriptor = self._try()
        _held.add(self)

    def release(self, remove: bool = False) -> None:
        """Give the lock back, with the file itself if `remove`."""
        if self._descriptor is not None:
            if remove:
                self.path.unlink(missing_ok=True)  # before closing: who waits for it then sees that it's gone
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> int | None:
        """The descriptor; None if the file was removed in between, so that its lock would guard nothing."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(descriptor), self.path.stat()):
                raise FileNotFoundError  # removed and made anew by another process
            holder = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(holder).encode())
        except BlockingIOError as error:
            os.close(descriptor)
            raise RunDirError(self._taken()) from error
        except FileNotFoundError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise RunDirError(
                f"Could not lock {self.path.parent}: {error.strerror or error}. "
                f"Choose a folder on a disk that can lock files and has room: {self.remedy}"
            ) from error
        return descriptor

    def _taken(self) -> str:
        try:
            holder = json.loads(self.path.read_text(encoding="utf-8"))
            who = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
            stop = f"stop it (kill {holder['pid']})"
        except (OSError, ValueError, KeyError, TypeError):
            who, stop = "another process", "stop it"
        return (
            f"{self.path.parent} is being written by {who}. Two runs can't share a folder: wait for that one, {stop}, "
            f"or give this one a folder of its own with {self.remedy}"
        )


_held: "weakref.WeakSet[FolderLock]" = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A forked worker shares its parent's lock and would keep it after the parent is killed."""
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_let_go_in_child)
