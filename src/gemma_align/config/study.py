"""A study's file: which methods are held against each other on which tasks, with which seeds, and what is equal.

Every cell of the grid is a run (or an evaluation of the untuned model) of a shipped configuration with settings over
it: the study's, the task's and the method's own, the later over the earlier.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from gemma_align.config.files import display, read_file
from gemma_align.config.problems import problems_of
from gemma_align.config.schema import TaskName
from gemma_align.config.sections import Count, CountOrZero, Fraction, Section
from gemma_align.config.source import UnreadableConfigError
from gemma_align.errors import ConfigError

SettingsOver = dict[str, JsonValue]
"""Dotted names and values, such as `{training.learning_rate: 3e-4}`."""


class MethodSpec(Section):
    """A row of the grid."""

    config: Annotated[str, Field(min_length=1)]
    """The configuration it starts from; a relative path starts at the study's file."""
    evaluate: bool = False
    """Nothing is trained: the untuned model is evaluated (with worked examples and best-of-n where settings ask)."""
    settings: SettingsOver = Field(default_factory=dict)
    """Over the study's and the task's."""
    start: str | None = None
    """The method whose policy it starts from, which its gains are held against; null: nothing is said of gains."""
    tasks: Annotated[tuple[TaskName, ...], Field(strict=False)] | None = None
    """Where it is tried; null: on every task."""
    seeds: Annotated[tuple[CountOrZero, ...], Field(strict=False)] | None = None
    """Its own; null: the study's. What is only evaluated has one."""
    tune: Annotated[tuple[SettingsOver, ...], Field(strict=False)] = ()
    """Candidates of settings: each is run with the first seed and judged on the tune split; all seeds take the best."""


class Budget(Section):
    """What the methods that are compared spend the same of."""

    equal: Literal["reward_calls", "sampled_tokens", "training_tokens", "updates", "seconds"] = "reward_calls"
    """Of what; methods that use none of it are told apart in the report, not refused."""
    tolerance: Fraction = 0.05
    """Relative differences up to this are called equal."""


class Claim(Section):
    """A comparison that was planned before anything was run; the report gives it first."""

    text: Annotated[str, Field(min_length=1)]
    """What is claimed, in words."""
    better: Annotated[str, Field(min_length=1)]
    """A method's name."""
    than: Annotated[str, Field(min_length=1)]
    """Another's."""
    measure: Annotated[str, Field(min_length=1)]
    """Of the evaluation, or `reward_per_token`: the mean reward of everything sampled up to an equal budget."""


class Study(Section):
    """A whole study."""

    title: Annotated[str, Field(min_length=1)]
    """The question, in words."""
    seeds: Annotated[tuple[CountOrZero, ...], Field(min_length=1, strict=False)] = (0, 1, 2)
    """Of training. Fewer than two say nothing about a method."""
    settings: SettingsOver = Field(default_factory=dict)
    """Of every cell."""
    tasks: dict[TaskName, SettingsOver]
    """Settings of each task: its data, for instance."""
    methods: Annotated[dict[str, MethodSpec], Field(min_length=1)]
    """By name, in the order of the report."""
    budget: Budget = Budget()
    """See `Budget`."""
    tune_by: Annotated[str, Field(min_length=1)] = "loss"
    """Measure of the tune split by which candidates are chosen: the lowest `loss`, the best of any other."""
    measures: dict[TaskName, Annotated[tuple[str, ...], Field(min_length=1, strict=False)]]
    """Of each task's evaluation: what decides. The first is the one that the recommendation goes by, and that a reward
    is held against (`checkpoint.measure` makes runs log it along the way)."""
    claims: Annotated[tuple[Claim, ...], Field(strict=False)] = ()
    """See `Claim`."""
    num_samples_shown: Count = 24
    """Examples whose responses stand side by side in the report."""
    archive: str | None = None
    """A file that keeps finished cells (`gemma-align study keep`); a relative path starts at the study's file."""

    @model_validator(mode="after")
    def _known(self) -> "Study":
        named = {f"the claim {c.text!r}": name for c in self.claims for name in (c.better, c.than)}
        named |= {f"the start of {m}": spec.start for m, spec in self.methods.items() if spec.start is not None}
        for who, name in named.items():
            if name not in self.methods:
                raise ValueError(f"{who} speaks of {name!r}; the methods are {', '.join(self.methods)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: wanted different ones, given {list(self.seeds)}")
        if lacking := [task for task in self.tasks if task not in self.measures]:
            raise ValueError(f"measures: wanted those of every task, there are none of {', '.join(lacking)}")
        return self


def load_study(path: Path) -> Study:
    """The study of a YAML file.

    Raises:
        ConfigError: every problem with its place.
    """
    try:
        settings, problems = read_file(path)
    except UnreadableConfigError as error:
        raise ConfigError(f"{display(path)} can't be used, a problem:\n  {error.problem}") from error
    try:
        return Study.model_validate(settings.values)
    except ValidationError as error:
        plain = [e for e in error.errors() if e["type"] != "value_error"]
        lines = [str(problem) for problem in (*problems, *problems_of(plain, settings, Study))]
        lines += [str(e["ctx"]["error"]) for e in error.errors() if e["type"] == "value_error"]
        count = f"{len(lines)} problems" if len(lines) > 1 else "a problem"
        raise ConfigError(f"{display(path)} can't be used, {count}:\n" + "\n".join(f"  {x}" for x in lines)) from error


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """As `load_config` takes them."""
    return [f"{name}={json.dumps(value)}" for name, value in settings.items()]
