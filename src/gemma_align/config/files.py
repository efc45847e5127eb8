"""Configuration files: reading, and following `extends` up to the file that extends nothing."""

import os
from difflib import get_close_matches
from pathlib import Path

from gemma_align.config.problems import show
from gemma_align.config.source import Location, Problem, Settings, UnreadableConfigError, read_yaml

_MAX_BYTES = 1 << 20  # a configuration is a few kilobytes; this stops /dev/zero and checkpoints given by mistake


def read_file(path: Path) -> tuple[Settings, list[Problem]]:
    """The settings of a file over those it extends, and what is wrong with any of the files.

    Raises:
        UnreadableConfigError: a file can't be read or is no mapping in YAML, so its settings are not known.
    """
    settings, problems = _read_chain(path, None, ())
    return settings, problems


def _read_chain(path: Path, named_at: Location | None, above: tuple[Path, ...]) -> tuple[Settings, list[Problem]]:
    own, problems = _read_one(path, named_at)
    extends = own.values.pop("extends", None)
    place = own.places.pop(("extends",), None)
    if place is None:
        return own, problems
    if not isinstance(extends, str) or not extends:
        problems.append(Problem(place, "extends", f"wanted the name of a file, given {show(extends)}"))
        return own, problems
    parent = path.parent / extends
    chain = (*above, path.resolve())
    if parent.resolve() in chain:
        names = " -> ".join(p.name for p in (*chain[chain.index(parent.resolve()) :], parent))
        raise UnreadableConfigError(place, f"extends: the files extend each other: {names}")
    settings, more = _read_chain(parent, place, chain)
    settings.replace_by(own)
    return settings, more + problems


def _read_one(path: Path, named_at: Location | None) -> tuple[Settings, list[Problem]]:
    name = display(path)
    text = _read_text(path, name, named_at)
    value, places, problems = read_yaml(text, name)
    if value is None and not problems:
        value = {}
    if not isinstance(value, dict):
        raise UnreadableConfigError(places[()], f"wanted settings as `name: value`, given {show(value)}")
    places.setdefault((), Location(name, 1))
    return Settings(value, places), problems


def _read_text(path: Path, name: str, named_at: Location | None) -> str:
    location = named_at or Location(name)
    subject = f"extends: {name}" if named_at else "this file"
    try:
        if path.is_dir():
            raise UnreadableConfigError(location, f"{subject} is a folder{_files_in(path)}")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UnreadableConfigError(location, f"{subject} does not exist{_near(path)}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableConfigError(location, f"{subject} can't be read: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise UnreadableConfigError(location, f"{subject} is larger than 1 MiB, so it is no configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UnreadableConfigError(
            Location(name, line), f"wanted UTF-8 text, given the byte 0x{content[error.start]:02x}; save it as UTF-8"
        ) from error


def _near(path: Path) -> str:
    """Which file may have been meant."""
    if not path.parent.is_dir():
        return f", nor does the folder {display(path.parent)}"
    names = [found.name for found in _yaml_files(path.parent)]
    near = get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(repr(display(path.parent / name)) for name in near) + "?"
    return _files_in(path.parent)


def _files_in(folder: Path) -> str:
    names = [found.name for found in _yaml_files(folder)]
    if not names:
        return f"; there are no YAML files in {display(folder)}"
    return f"; in {display(folder)} there are {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"


def _yaml_files(folder: Path) -> list[Path]:
    try:
        return sorted(found for found in folder.iterdir() if found.suffix in (".yml", ".yaml"))
    except OSError:
        return []


def display(path: Path) -> str:
    """The path as seen from here if it lies below, otherwise as given, without detours."""
    given = os.path.normpath(path)
    try:
        return str(Path(os.path.abspath(given)).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return given
