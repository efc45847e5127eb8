"""`key=value` on the command line: dotted keys, values in YAML."""

from collections.abc import Sequence
from typing import Any

from gemma_align.config.problems import split_key
from gemma_align.config.source import (
    Location,
    Problem,
    SettingPath,
    Settings,
    UnreadableConfigError,
    dotted,
    merge,
    read_yaml,
)

COMMAND_LINE = Location("command line")


def apply_overrides(settings: Settings, overrides: Sequence[str]) -> list[Problem]:
    """Put them into the settings, the later over the earlier; what can't be put in is returned as problems."""
    return [problem for text in overrides for problem in _apply(settings, text)]


def _apply(settings: Settings, text: str) -> list[Problem]:
    key, equals, value_text = text.partition("=")
    key = key.strip()
    if not equals:
        hint = f"; did you mean --config {text}?" if text.endswith((".yml", ".yaml")) else ""
        return [_problem("", f"wanted key=value, given {text!r}{hint}")]
    if not all(key.split(".")):
        return [_problem("", f"wanted key=value with a key such as training.batch_size, given {text!r}")]
    if key == "extends":
        return [_problem(key, "wanted in a file only; name the file with --config")]
    try:
        value, places, problems = read_yaml(value_text, COMMAND_LINE.source, first_line=0)
    except UnreadableConfigError as error:
        return [_problem(key, error.problem.message)]
    if problems:
        return [_problem(key, problem.message) for problem in problems]
    return _put(settings, split_key(key), value, places)


def _put(settings: Settings, path: SettingPath, value: Any, places: dict[SettingPath, Location]) -> list[Problem]:
    """Set one value, making the mappings above it; a number goes to that item of a list."""
    node: Any = settings.values
    where: SettingPath = ()
    for depth, part in enumerate(path, start=1):
        key: Any = part if isinstance(node, list) else str(part)
        where += (key,)
        if isinstance(node, list) and not (isinstance(key, int) and key < len(node)):
            return [_problem(dotted(where), f"wanted the number of an item, from 0 to {len(node) - 1}, given {key!r}")]
        old = node[key] if isinstance(node, list) else node.get(key)
        if depth < len(path):
            if not isinstance(old, dict | list):
                node[key] = {}
                settings.places[where] = COMMAND_LINE
            node = node[key]
        elif isinstance(old, dict) and isinstance(value, dict):
            merge(old, value)
        else:
            node[key] = value
    settings.places.update({where + below: place for below, place in places.items()})
    return []


def _problem(key: str, message: str) -> Problem:
    return Problem(COMMAND_LINE, key, message)
