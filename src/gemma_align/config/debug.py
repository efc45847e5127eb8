"""The same run in miniature: two or three batches of everything."""

from collections.abc import Mapping
from typing import Any

from gemma_align.config.schema import Config

_AT_MOST: Mapping[str, Mapping[str, int]] = {
    "data": {"num_builtin": 12, "max_train_examples": 6, "max_tune_examples": 4, "max_report_examples": 4},
    "training": {"batch_size": 2, "num_epochs": 1, "max_steps": 3, "eval_every": 2},
    "grpo": {"max_refills": 1},
    "rl": {"num_prompts": 2, "group_size": 2, "max_response_tokens": 8, "overlong_buffer": 4},
    "pairs": {"num_samples": 2, "max_new_tokens": 8, "num_prompts": 4},
    "evaluation": {
        "num_examples": 3,
        "max_new_tokens": 16,
        "few_shot": 1,
        "num_samples": 2,
        "best_of": 2,
        "num_rows": 2,
        "num_shown": 2,
    },
    "checkpoint": {"every": 2},
}


def debug_config(config: Config) -> Config:
    """The configuration with every count cut down, and no trackers beside the run folder's own."""
    sections = {name: getattr(config, name) for name in _AT_MOST}
    changed: dict[str, Any] = {
        name: section.model_copy(update=_cut(dict(section), _AT_MOST[name])) for name, section in sections.items()
    }
    changed["stages"] = tuple(
        stage.model_copy(
            update={
                name: getattr(stage, name).model_copy(update=_cut(own, _AT_MOST.get(name, {})))
                for name, own in stage.overrides().items()
            }
        )
        for stage in config.stages
    )
    changed["tracking"] = config.tracking.model_copy(update={"trackers": ()})
    return config.model_copy(update={**changed, "debug": True})


def _cut(settings: Mapping[str, Any], at_most: Mapping[str, int]) -> dict[str, int]:
    """Those of the settings that have a limit, cut down to it; null, which means all, becomes the limit."""
    return {
        name: limit if settings[name] is None else min(settings[name], limit)
        for name, limit in at_most.items()
        if name in settings
    }
