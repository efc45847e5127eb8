"""What counts as an unstable stage of reinforcement learning, and what is done about it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gemma_align.config.sections import Count, Section

Action = Literal["log", "lower_rate", "rewind", "stop"]


class Watch(Section):
    """One thing that is watched."""

    limit: float
    """The verdict falls where the signal is above it for `monitor.patience` updates in a row."""
    action: Action = "log"
    """`log`: say it; `lower_rate`: and go on with a lower learning rate; `rewind`: and from the last checkpoint before
    it began; `stop`: end the run with the evaluation of what there is."""


class MonitorConfig(Section):
    """Verdicts on a stage that samples, from its metrics (docs/algorithms.md, "Stability")."""

    enabled: bool = True
    """Watch at all."""
    window: Count = 10
    """Updates that "at first" and "lately" are means or medians of."""
    patience: Count = 3
    """Updates in a row that a signal has to stand above its limit."""
    lower_by: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What `lower_rate` and `rewind` multiply the learning rate by."""
    kl_blow_up: Watch = Watch(limit=0.5)
    """Divergence from the reference lately, nats a token."""
    entropy_collapse: Watch = Watch(limit=0.7)
    """Share of the first entropy that is gone lately."""
    clip_saturation: Watch = Watch(limit=0.3)
    """Share of tokens whose gradient was cut lately."""
    length_drift: Watch = Watch(limit=0.8)
    """Length lately against at first, up or down: the logarithm of the ratio."""
    length_reward: Watch = Watch(limit=0.8)
    """Correlation of length and score over a batch's responses lately."""
    value_failure: Watch = Watch(limit=0.5)
    """Minus the explained variance of the critic's values lately; 0: no better than a constant."""
    dead_groups: Watch = Watch(limit=0.8)
    """Share of groups whose scores are all equal lately."""
    reward_falls: Watch = Watch(limit=0.5)
    """Score at first less score lately, in deviations of a batch's scores."""
    violations_rise: Watch = Watch(limit=0.2)
    """Share of violated constraints lately less at first, while the learned part of the reward rises."""
    never_ends: Watch = Watch(limit=0.95)
    """Share of responses lately that didn't end by themselves."""
    not_finite: Watch = Watch(limit=0.0)
    """Updates skipped because a loss or a gradient wasn't finite, of the last `window`."""

    @model_validator(mode="before")
    @classmethod
    def _keep_limits(cls, given: Any) -> Any:
        """A watch that is given an action alone keeps its own limit."""
        if not isinstance(given, Mapping):
            return given
        return {
            name: {"limit": cls.model_fields[name].default.limit, **value}
            if name in WATCHED and isinstance(value, Mapping)
            else value
            for name, value in given.items()
        }

    def watches(self) -> tuple[Watch, ...]:
        """All of them."""
        return tuple(getattr(self, name) for name in WATCHED)


WATCHED = tuple(name for name, field in MonitorConfig.model_fields.items() if field.annotation is Watch)
"""Names of the signals, which are those of their functions in `trainers/stability.py`."""
