"""Whether two resolved configurations are of the same run."""

from collections.abc import Mapping
from typing import Any

import yaml

# Where a run is kept and watched, who judges it afterwards, and pairs that no run makes, say nothing about what it
# computes, so they may change when a run goes on. (With a watch that rewinds, which checkpoints there are decides what
# it goes back to: such a run is only the same bit for bit with the same checkpoints.)
FREE = (
    "output_dir",
    "tracking",
    "checkpoint.every",
    "checkpoint.keep",
    "checkpoint.reuse_stages",
    "evaluation.judge",
    "pairs",
)


def config_differences(old_yaml: str, new_yaml: str) -> list[str]:
    """One line for each setting that differs, such as `training.batch_size: 8 there, 4 now`.

    ValueError if `old_yaml` is no configuration.
    """
    old, new = flat_settings(old_yaml), flat_settings(new_yaml)
    if not old:
        raise ValueError("it holds no settings")
    lines = []
    for key in sorted(old.keys() | new.keys()):
        there, now = (repr(config[key]) if key in config else "not set" for config in (old, new))
        if there != now and not any(key == free or key.startswith(f"{free}.") for free in FREE):
            lines.append(f"{key}: {there} there, {now} now")
    return lines


def flat_settings(config_yaml: str) -> dict[str, Any]:
    """{"training.batch_size": 8, ...}. ValueError if it isn't YAML."""
    try:
        return _flat(yaml.safe_load(config_yaml))
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {error}") from error


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value} if prefix else {}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
