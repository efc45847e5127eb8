"""YAML text to plain values that remember where they stand.

Scalars follow YAML 1.2's core rules, not PyYAML's YAML 1.1: `1e-3` is a number (PyYAML reads text), `no` and `12:30`
are text (PyYAML reads false and 750), and `010` is ten. Anchors, aliases and tags are refused: `extends` is what
shares settings between files, and an alias can blow a small file up to gigabytes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import yaml

SettingPath = tuple[str | int, ...]  # of a setting: ("model", "lora", "r"), ("stages", 0, "method")

_SCALARS = (
    ("null", re.compile(r"(?:~|null|Null|NULL|)\Z"), "~nN\0"),
    ("bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"),
    ("int", re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), "-+0123456789"),
    (
        "float",
        re.compile(
            r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
        ),
        "-+.0123456789",
    ),
)
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """Where a setting was written."""

    source: str  # a file, or "command line"
    line: int = 0  # from 1; 0: no line

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend."""

    location: Location
    key: str  # dotted; "" where it is no setting's
    message: str
    between: tuple[str, ...] = field(default=(), compare=False)  # the keys that contradict each other

    def __str__(self) -> str:
        return f"{self.location}  {self.key}{': ' if self.key else ''}{self.message}"


@dataclass
class Settings:
    """Nested plain values, and the place of each."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[SettingPath, Location] = field(default_factory=dict)

    def place(self, path: SettingPath) -> Location | None:
        """Where the setting stands, or the nearest one that it belongs to."""
        return next((self.places[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.places), None)

    def replace_by(self, other: "Settings") -> None:
        """Take over the other's settings: mappings are merged, everything else (lists too) is replaced."""
        merge(self.values, other.values)
        self.places.update(other.places)


def merge(old: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Put the new values into the old: mappings into mappings, everything else in the old one's place."""
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            merge(old[key], value)
        else:
            old[key] = value


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        for what in ("anchor", "tag"):
            if getattr(event, what, None):
                remedy = f"{what}s are not supported; share settings with `extends`, quote text that looks like one"
                raise yaml.composer.ComposerError(None, None, remedy, event.start_mark)
        return super().compose_node(parent, index)


for _name, _pattern, _first in _SCALARS:
    for _character in _first.replace("\0", ""):
        _Loader.yaml_implicit_resolvers.setdefault(_character, []).append((_TAG + _name, _pattern))
    if "\0" in _first:
        _Loader.yaml_implicit_resolvers.setdefault("", []).append((_TAG + _name, _pattern))


def read_yaml(text: str, source: str, first_line: int = 1) -> tuple[Any, dict[SettingPath, Location], list[Problem]]:
    """The value of a YAML text, the place of each of its parts, and what is wrong with it.

    Args:
        text: one YAML document.
        source: what to call it.
        first_line: number of its first line; 0 where it has no line numbers (a word on the command line).

    Raises:
        UnreadableConfigError: it is no YAML at all.
    """
    here = Location(source, first_line)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _invalid(_at(here, mark), str(error.problem or error.context)) from error
    except yaml.YAMLError as error:  # a character that YAML doesn't allow
        raise _invalid(here, " ".join(str(error).split())) from error
    except RecursionError as error:
        raise _invalid(here, "nested too deeply") from error
    if node is None:
        return None, {(): here}, []
    reader = _Reader(here)
    return reader.value(node, ()), reader.places, reader.problems


class UnreadableConfigError(Exception):
    """A file or word whose settings can't be known; holds the problem."""

    def __init__(self, location: Location, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(location, "", message)


def _invalid(location: Location, reason: str) -> UnreadableConfigError:
    return UnreadableConfigError(location, f"not valid YAML: {reason}")


def _at(here: Location, mark: yaml.Mark | None) -> Location:
    return replace(here, line=here.line + mark.line) if here.line and mark else here


class _Reader:
    """Turns YAML nodes into values, noting places and problems on the way."""

    def __init__(self, here: Location) -> None:
        self.here = here
        self.places: dict[SettingPath, Location] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: SettingPath) -> Any:
        location = self.places.setdefault(path, _at(self.here, node.start_mark))
        if isinstance(node, yaml.MappingNode):
            return {key: self.value(child, (*path, key)) for key, child in self._items(node, path)}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, (*path, number)) for number, child in enumerate(node.value)]
        try:
            return _scalar(node.tag.removeprefix(_TAG), node.value)
        except ValueError:  # Python refuses thousands of digits
            self.problems.append(Problem(location, dotted(path), f"too large a number: {node.value[:40]}…"))
            return None

    def _items(self, node: yaml.MappingNode, path: SettingPath) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, int] = {}
        for key_node, child in node.value:
            location = _at(self.here, key_node.start_mark)
            key = key_node.value
            if not isinstance(key, str) or not key:
                self.problems.append(Problem(location, dotted(path), "wanted a name before the colon"))
                continue
            if key in seen:
                first = f", first in line {seen[key]}" if seen[key] else ""
                self.problems.append(Problem(location, dotted((*path, key)), f"given twice{first}; keep one"))
            seen[key] = location.line
            self.places[(*path, key)] = location
            yield key, child


def _scalar(kind: str, text: str) -> Any:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def dotted(path: SettingPath) -> str:
    """model.lora.r"""
    return ".".join(map(str, path))


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    """PyYAML writes the line ends that only Unicode knows as they are, and reads them back as spaces."""
    return dumper.represent_scalar(_TAG + "str", text, style='"' if set(text) & set("\x85\u2028\u2029") else None)


_Dumper.add_representer(str, _represent_text)
for _name, _pattern, _first in _SCALARS[1:]:
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, list(_first))


def write_yaml(values: Mapping[str, Any]) -> str:
    """YAML text, in the order given; `read_yaml` gives the same values back."""
    text: str = yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text
