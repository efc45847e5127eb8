"""Pydantic's errors in words: what was wanted, what was given, and the near name."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from gemma_align.config.source import Location, Problem, SettingPath, Settings, dotted

_NOWHERE = Location("configuration")
_MAX_SHOWN = 60  # characters of a value in a message


def problems_of(errors: Iterable[ErrorDetails], settings: Settings, schema: type[BaseModel]) -> Iterator[Problem]:
    """A problem for each error that isn't only the consequence of another one."""
    errors = list(errors)
    json_schema = schema.model_json_schema()
    for error in errors:
        path: SettingPath = error["loc"]
        if any(len(path) < len(other["loc"]) and other["loc"][: len(path)] == path for other in errors):
            continue  # "the list has no valid item" beside the item's own error
        if error["type"] == "contradictions":
            for keys, message in error["ctx"]["found"]:
                yield Problem(_place(settings, split_key(keys[0])), keys[0], message, between=keys)
        else:
            yield Problem(_place(settings, path), dotted(path), _message(error, path, json_schema))


def _place(settings: Settings, path: SettingPath) -> Location:
    return settings.place(path) or _NOWHERE


def split_key(key: str) -> SettingPath:
    """("stages", 0, "method") of "stages.0.method"."""
    return tuple(int(part) if part.isascii() and part.isdecimal() else part for part in key.split("."))


def _message(error: ErrorDetails, path: SettingPath, schema: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return _no_such_setting(path, schema)
    wanted = _resolve(schema, path)
    if error["type"] == "missing":
        return f"wanted {describe(wanted, schema)}, given nothing"
    given = error["input"]
    quoted = isinstance(given, str) and error["type"] in ("int_type", "float_type", "bool_type")
    text = f"wanted {describe(wanted, schema)}, given {'the text ' if quoted else ''}{show(given)}"
    if error["type"] == "refused":
        text += f": {error['msg']}"
    return text + did_you_mean(given, _choices(wanted))


def _no_such_setting(path: SettingPath, schema: Mapping[str, Any]) -> str:
    *parents, name = path
    siblings = list(_not_null(_resolve(schema, tuple(parents)), schema).get("properties", ()))
    elsewhere = [key for key in _all_keys(schema) if key.rpartition(".")[2] == name]
    hint = did_you_mean(name, siblings)
    if elsewhere and not hint:
        hint = f"; did you mean {elsewhere[0]!r}?"
    return "no such setting" + (hint or f"; there are {', '.join(siblings)}")


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """The hint with the nearest of the names, or nothing."""
    if not isinstance(given, str):
        return ""
    folded = {name.lower().replace("-", "_"): name for name in names}
    near = get_close_matches(given.lower().replace("-", "_"), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def show(value: object) -> str:
    """A value as one would write it in YAML, shortened."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            text = f"[{', '.join(map(show, value[:10]))}{', …' if len(value) > 10 else ''}]"
        case int() if value.bit_length() > 200:
            return "a number of more than 60 digits"
        case _:
            text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def describe(wanted: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a JSON schema accepts, in words."""
    wanted = _expand(wanted, schema)
    if "anyOf" in wanted:
        return " or ".join(describe(option, schema) for option in wanted["anyOf"])
    if choices := _choices(wanted):
        return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
    match wanted.get("type"):
        case "integer":
            return "a whole number" + _range(wanted)
        case "number":
            return "a number" + _range(wanted)
        case "boolean":
            return "true or false"
        case "string":
            return "text"
        case "null":
            return "null"
        case "array" if "prefixItems" in wanted:
            items = [describe(item, schema) for item in wanted["prefixItems"]]
            return f"a list of {len(items)} ({', '.join(items)})"
        case "array":
            at_least = f" with at least {wanted['minItems']}" if wanted.get("minItems") else ""
            return f"a list{at_least} of: {describe(wanted.get('items', {}), schema)}"
        case "object":
            names = ", ".join(wanted.get("properties", ()))
            return f"a mapping with {names}" if names else "a mapping"
    return "something else"


def _range(wanted: Mapping[str, Any]) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    limits = [f"{word} {wanted[name]}" for name, word in words.items() if name in wanted]
    return " " + " and ".join(limits) if limits else ""


def _choices(wanted: Mapping[str, Any]) -> list[str]:
    options = [wanted, *wanted.get("anyOf", ())]
    constants = [[option["const"]] if "const" in option else option.get("enum", []) for option in options]
    return [str(choice) for choices in constants for choice in choices]


def _resolve(schema: Mapping[str, Any], path: SettingPath) -> Mapping[str, Any]:
    """The part of the schema that speaks of a setting; empty where there is none."""
    node: Mapping[str, Any] = schema
    for part in path:
        node = _not_null(node, schema)
        if isinstance(part, int):
            items = node.get("prefixItems", ())
            node = items[part] if part < len(items) else node.get("items", {})
        else:
            node = node.get("properties", {}).get(part, {})
    return node


def _not_null(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a setting accepts beside null."""
    options = [_expand(option, schema) for option in node.get("anyOf", [node])]
    return next(option for option in options if option.get("type") != "null")


def _expand(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref")
    expanded: Mapping[str, Any] = schema["$defs"][reference.rpartition("/")[2]] if reference else node
    return expanded


def _all_keys(schema: Mapping[str, Any], node: Mapping[str, Any] | None = None, prefix: str = "") -> Iterator[str]:
    for name, child in _expand(node or schema, schema).get("properties", {}).items():
        yield prefix + name
        for option in (child, *child.get("anyOf", ())):
            yield from _all_keys(schema, option, f"{prefix}{name}.") if "$ref" in option else ()
