"""From a file and overrides to a checked configuration, and back to YAML."""

from collections.abc import Sequence
from copy import deepcopy
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gemma_align.config.debug import debug_config
from gemma_align.config.files import display, read_file
from gemma_align.config.overrides import COMMAND_LINE, apply_overrides
from gemma_align.config.problems import problems_of
from gemma_align.config.schema import Config
from gemma_align.config.source import Problem, SettingPath, Settings, UnreadableConfigError, dotted, write_yaml
from gemma_align.errors import ConfigError

_REQUIRED = {"task": "clinical", "stages": [{"method": "sft"}]}  # stand-ins while looking for further problems


def load_config(path: str | Path, overrides: Sequence[str] = (), debug: bool = False) -> Config:
    """The configuration of a file, with everything it extends and the overrides, checked.

    Args:
        path: a YAML file.
        overrides: `key=value`, keys dotted, values in YAML; the later win.
        debug: shrink it to two or three batches of everything, in a run folder of its own.

    Raises:
        ConfigError: lists every problem of the files and the overrides with its place.
    """
    path = Path(path)
    try:
        settings, problems = read_file(path)
    except UnreadableConfigError as error:
        raise _error(path, [error.problem, *apply_overrides(Settings(), overrides)]) from error
    problems += apply_overrides(settings, overrides)
    _choose_output_dir(settings, path, debug)
    config, more = _validate(settings)
    known = {problem.key for problem in problems if problem.key}
    problems += [problem for problem in more if problem.key not in known]
    if config is None or problems:
        raise _error(path, problems)
    return debug_config(config) if debug or config.debug else config


def resolved_yaml(config: Config) -> str:
    """All settings as YAML; `load_config` gives the same configuration back."""
    values = config.model_dump(mode="json")
    values["stages"] = [stage.model_dump(mode="json", exclude_unset=True) for stage in config.stages]
    return write_yaml(values)


def _choose_output_dir(settings: Settings, path: Path, debug: bool) -> None:
    """`runs/` and the file's name where nothing is said; a debug run stays out of the real one's folder."""
    values = settings.values
    values.setdefault("output_dir", f"runs/{path.stem}")
    from_command_line = settings.place(("output_dir",)) == COMMAND_LINE
    if (debug or values.get("debug") is True) and isinstance(values["output_dir"], str) and not from_command_line:
        values["output_dir"] = values["output_dir"].rstrip("/").removesuffix("-debug") + "-debug"


def _validate(settings: Settings) -> tuple[Config | None, list[Problem]]:
    try:
        return Config.model_validate(settings.values), []
    except ValidationError as error:
        errors = error.errors()
    problems = list(problems_of(errors, settings, Config))
    # Contradictions are only looked for once every setting is fine by itself: look again without those that are not.
    try:
        Config.model_validate(_REQUIRED | _without(settings.values, [error["loc"] for error in errors]))
    except ValidationError as error:
        # A misspelled name may have been any of its section's.
        bad = [dotted(e["loc"][:-1] if e["type"] == "extra_forbidden" else e["loc"]) for e in errors]
        further = [p for p in problems_of(error.errors(), settings, Config) if p not in problems]
        problems += [p for p in further if not any(_is_part(key, of=name) for key in p.between for name in bad)]
    return None, problems


def _without(values: dict[str, Any], paths: Sequence[SettingPath]) -> dict[str, Any]:
    """The values less those at the paths; of a list with a bad item nothing is left."""
    values = deepcopy(values)
    for path in paths:
        keys = list(takewhile(lambda part: isinstance(part, str), path))
        node: Any = values
        for key in keys[:-1]:
            node = node.get(key, {})
        if keys:
            node.pop(keys[-1], None)
    return values


def _is_part(key: str, of: str) -> bool:
    return not of or key == of or key.startswith(of + ".")


def _error(path: Path, problems: list[Problem]) -> ConfigError:
    ordered = sorted(set(problems), key=lambda problem: (problem.location, problem.key))
    count = f"{len(ordered)} problems" if len(ordered) > 1 else "a problem"
    lines = "\n".join(f"  {problem}" for problem in ordered)
    return ConfigError(f"{display(path)} can't be used, {count}:\n{lines}")
