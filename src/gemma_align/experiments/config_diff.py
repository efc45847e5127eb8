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
# How the trained model is measured has no part in its training, so it can be measured anew, otherwise
MEASURING = tuple(
    f"evaluation.{name}"
    for name in (
        "split",
        "num_examples",
        "few_shot",
        "num_samples",
        "temperature",
        "best_of",
        "best_of_temperature",
        "num_shown",
        "base",
        "confidence",
    )
)
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a study reads two a cell: 8 ms instead of 57
_PATIENCE = ".timeout"  # how long somebody is waited for: what isn't in time ends the run, so it changes no number


def config_differences(old_yaml: str, new_yaml: str) -> list[str]:
    """One line for each setting that differs, such as `training.batch_size: 8 there, 4 now`.

    ValueError if `old_yaml` is no configuration.
    """
    old, new = flat_settings(old_yaml, into_lists=True), flat_settings(new_yaml, into_lists=True)
    if not old:
        raise ValueError("it holds no settings")
    lines = []
    for key in sorted(old.keys() | new.keys()):
        there, now = (repr(config[key]) if key in config else "not set" for config in (old, new))
        free = key.endswith(_PATIENCE) or any(key == name or key.startswith(f"{name}.") for name in FREE)
        if there != now and not free:
            lines.append(f"{key}: {there} there, {now} now")
    return lines


def flat_settings(config_yaml: str, *, into_lists: bool = False) -> dict[str, Any]:
    """{"training.batch_size": 8, ...}; of lists of mappings, such as the stages, the list, or {"stages.0.method": ...}.

    ValueError if it isn't YAML.
    """
    try:
        return _flat(yaml.load(config_yaml, Loader=_SAFE), "", into_lists)
    except yaml.YAMLError as error:
        raise ValueError(f"it is not YAML: {error}") from error


def settings_of_stage(settings: Mapping[str, Any], stage: Mapping[str, Any]) -> dict[str, Any]:
    """`flat_settings` with a stage's own in their place, and its `method`; as `Config.for_stage` does for sections."""
    return {**settings, **_flat(stage, "", False)}


def _flat(value: Any, prefix: str, into_lists: bool) -> dict[str, Any]:
    if into_lists and isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {prefix: value} if prefix else {}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key), into_lists)
    return flat
