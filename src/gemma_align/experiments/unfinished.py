"""A folder that any of several runs may make: under its maker's number beside its place, renamed once it is whole."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEFT_SECONDS = 3600.0
"""A folder of a process that isn't there, untouched for so long, was left by a kill. The process may be one of another
machine that shares the disk, so its number alone doesn't say."""


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """An empty folder to make `target` in; gone afterwards unless it was renamed. OSError if there can be none."""
    _sweep(target)
    place = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        place.mkdir(parents=True)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _sweep(target: Path) -> None:
    prefix = f".{target.name}-"
    beside = list(target.parent.iterdir()) if target.parent.is_dir() else []
    for left in (path for path in beside if path.name.startswith(prefix)):
        number = left.name.removeprefix(prefix)
        if number.isdecimal() and not _runs(int(number)) and time.time() - _touched(left) > LEFT_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


def _touched(folder: Path) -> float:
    """When anything in it was changed last, in seconds since 1970."""
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*")) if path.exists()), default=0.0)
