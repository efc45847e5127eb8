"""Logs of one JSON object a line, written by the rule in `files.py`: valid, sorted, exact."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from gemma_align.errors import RunDirError
from gemma_align.experiments.files import json_text


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a log; none where there is no file. RunDirError for a line that is damaged."""
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise _damaged(path, number, str(error)) from error
        if not isinstance(record, dict):
            raise _damaged(path, number, "no JSON object")
        records.append(record)
    return records


def damaged_log(folder: Path, sizes: Mapping[str, int], sums: Mapping[str, str]) -> str | None:
    """What is wrong with the logs in a folder up to these sizes, in words; None if nothing is.

    A flipped digit in a log is as bad as one in the weights. RunDirError for one that is there and can't be read.
    """
    for name, size in sizes.items():
        try:
            with (folder / name).open("rb") as file:
                content = file.read(size)
        except FileNotFoundError:
            return f"{folder / name} is gone"
        except OSError as error:
            raise RunDirError(f"Could not read {folder / name}: {error.strerror or error}.") from error
        if len(content) != size or hashlib.sha256(content).hexdigest() != sums.get(name):
            return f"the first {size} bytes of {folder / name} aren't what was written (damaged, changed or lost)"
    return None


def _damaged(path: Path, number: int, why: str) -> RunDirError:
    return RunDirError(f"{path}, line {number}: damaged ({why}). Put back a good copy, or delete that line")


class JsonLines:
    """A log that only grows, a whole line at a time, except when a resumed run cuts it back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._sum = hashlib.sha256()  # of what was written, so that damage to the file doesn't find its way into it

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line and hand it to the operating system, so that a killed process loses none.

        RunDirError if the disk is full; no part of the line stays behind then.
        """
        descriptor = self._open()
        start = os.fstat(descriptor).st_size
        line = whole = json_text(record).encode() + b"\n"
        try:
            while line:
                line = line[os.write(descriptor, line) :]
        except OSError as error:
            os.ftruncate(descriptor, start)
            raise self._no_room(error) from error
        self._sum.update(whole)

    def size(self) -> int:
        """Bytes so far, all of them on the disk when this returns. RunDirError if they can't get there."""
        try:
            os.fsync(self._open())
        except OSError as error:
            raise self._no_room(error) from error
        return os.fstat(self._open()).st_size

    def sha256(self) -> str:
        """Of the log as it was read when it was opened or cut, and of what was appended since; in hexadecimal."""
        self._open()
        return self._sum.hexdigest()

    def truncate_to(self, size: int) -> None:
        """Forget what was written after the first `size` bytes; a shorter log stays as it is."""
        os.ftruncate(self._open(), min(size, os.fstat(self._open()).st_size))
        self._sum = hashlib.sha256(self.path.read_bytes())

    def drop_torn_line(self) -> None:
        """Forget a last line that was cut off in the middle."""
        content = self.path.read_bytes() if self.path.exists() else b""
        if content and not content.endswith(b"\n"):
            self.truncate_to(content.rfind(b"\n") + 1)

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _no_room(self, error: OSError) -> RunDirError:
        return RunDirError(
            f"Could not write to {self.path}: {error.strerror or error}. Everything up to the last checkpoint is "
            "safe: make room, then give the same command with --resume."
        )

    def _open(self) -> int:
        if self._descriptor is None:
            try:
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
                self._sum = hashlib.sha256(self.path.read_bytes())
            except OSError as error:
                raise RunDirError(f"Could not open {self.path}: {error.strerror or error}.") from error
        return self._descriptor
