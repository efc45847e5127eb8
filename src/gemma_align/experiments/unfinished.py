"""A folder that any of several runs may make: beside its place under its maker's name, and renamed once it is whole."""

import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """An empty folder to make `target` in; gone afterwards unless it was renamed. OSError if there can be none.

    What a killed maker on this machine left is removed first.
    """
    mine = f".{target.name}-{_machine()}-"
    _sweep(target.parent, mine)
    place = target.with_name(f"{mine}{os.getpid()}-{secrets.token_hex(4)}")
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _machine() -> str:
    """Process numbers mean something on one machine alone, and a disk may be shared."""
    return re.sub(r"[^A-Za-z0-9]+", "_", platform.node()) or "here"


def _sweep(folder: Path, mine: str) -> None:
    for left in folder.iterdir() if folder.is_dir() else ():
        process = left.name.removeprefix(mine).partition("-")[0]
        if left.name.startswith(mine) and process.isdecimal() and not _runs(int(process)):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True
