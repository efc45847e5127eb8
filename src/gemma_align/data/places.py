"""From what the user wrote (`data.train=…`) to the files or hub sets behind each split."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path

from gemma_align.errors import DataError
from gemma_align.types import Split

BUILTIN = "builtin"
_DATA_FILE = re.compile(r"\.(csv|json|jsonl)(\.gz)?$", re.IGNORECASE)
_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(:[\w.-]+)?$")


@dataclass(frozen=True, slots=True)
class Known:
    """A file of a published set, found in a folder by its name (a pattern)."""

    pattern: str
    format: str
    split: Split


@dataclass(frozen=True, slots=True)
class Place:
    """One thing to read. `format` is "auto" where the columns have to tell."""

    where: Path | str  # a file, or a hub id
    format: str


_VARIABLE = re.compile(r"^\$\{?(\w+)")


def find_places(spec: str, split: Split, format_name: str, known: Sequence[Known]) -> dict[Split, list[Place]]:
    """What stands behind `spec`, given for `split`, by split. A folder or hub id may hold the other splits as well.

    A folder is searched (itself and one level below) for the known files; one that holds a single data file of any
    other name stands for that file. `$NAME` stands for an environment variable, so that a configuration is the same
    text on every machine. Raises DataError where nothing is found, with what was looked for.
    """
    spec = os.path.expandvars(spec)
    if unset := _VARIABLE.search(spec):
        raise DataError(f"data.{split}={spec}: the environment variable {unset[1]} isn't set; it should name a folder")
    try:
        path = Path(spec).expanduser()
        is_folder, exists, in_folder = path.is_dir(), path.exists(), path.parent.is_dir()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"data.{split}={spec[:80]!r} is no usable path: {error}") from error
    if is_folder:
        return _in_folder(path, split, format_name, known)
    if exists:
        return {split: [Place(path, format_name)]}
    if _HUB_ID.match(spec) and not _DATA_FILE.search(spec) and not in_folder:
        return {split: [Place(spec, format_name)]}
    raise DataError(_not_found(spec, path, split))


def known_places(folder: Path, format_name: str, known: Sequence[Known]) -> dict[Split, list[Place]]:
    """The known files of a folder, itself and one level below, by split; splits without any are left out."""
    places: dict[Split, list[Place]] = {}
    files = _data_files(folder)
    for entry in known:
        for file in files:
            place = Place(file, entry.format)
            found = fnmatch(file.absolute().as_posix(), f"*/{entry.pattern}") and file.is_file()
            if found and format_name in ("auto", entry.format) and place not in places.get(entry.split, ()):
                places.setdefault(entry.split, []).append(place)
    return places


def _data_files(folder: Path) -> list[Path]:
    try:
        return sorted(file for pattern in ("*", "*/*") for file in folder.glob(pattern) if _DATA_FILE.search(file.name))
    except OSError as error:
        raise DataError(f"the folder {folder} can't be read: {error}") from error


def _in_folder(folder: Path, split: Split, format_name: str, known: Sequence[Known]) -> dict[Split, list[Place]]:
    places, files = known_places(folder, format_name, known), _data_files(folder)
    if places.get(split):
        return places
    if len(files) == 1:
        return {split: [Place(files[0], format_name)]}
    wanted = {entry.pattern for entry in known if entry.split == split and format_name in ("auto", entry.format)}
    names = ", ".join(sorted(wanted)) or "none"
    there = ", ".join(file.relative_to(folder).as_posix() for file in files[:12]) or "no csv, json or jsonl file"
    raise DataError(
        f"data.{split}: the folder {folder} has no known file for this task. Known names: {names}. "
        f"It has: {there}. Give the file itself."
    )


def _not_found(spec: str, path: Path, split: Split) -> str:
    parent = path.parent
    try:
        near = get_close_matches(path.name, [entry.name for entry in parent.iterdir()], n=3, cutoff=0.5)
    except OSError:
        return (
            f"data.{split}={spec!r}: there is no folder {parent}. "
            f"Give a file, a folder, a hub id (owner/name) or {BUILTIN!r}."
        )
    hint = f" Near names: {', '.join(near)}." if near else ""
    return (
        f"data.{split}={spec!r}: there is no such file or folder in {parent.resolve()}.{hint} "
        f"Give a file, a folder, a hub id (owner/name) or {BUILTIN!r}."
    )


def hub_split_names(available: Sequence[str]) -> Mapping[Split, str]:
    """Which of a hub set's own splits serve as ours."""
    aliases: dict[Split, tuple[str, ...]] = {
        "train": ("train", "training"),
        "tune": ("validation", "valid", "val", "dev"),
        "report": ("test", "test1", "eval"),
    }
    return {
        ours: next(name for name in names if name in available)
        for ours, names in aliases.items()
        if any(name in available for name in names)
    }
