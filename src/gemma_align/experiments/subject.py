"""Which models an evaluation measures: a base model alone, or what a run trained and what it started from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_align.config import Config, ModelConfig, load_config
from gemma_align.errors import CheckpointError, ConfigError
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.models.fingerprint import file_sha256
from gemma_align.models.policy import Policy


@dataclass(frozen=True, slots=True)
class Subject:
    """The models by name, the one in question first: "tuned" before "base", or "base" alone, then "few_shot".

    facts  what tells one subject from another: fingerprints of the checkpoint and of what was trained
    """

    models: tuple[str, ...]
    facts: Mapping[str, Any]
    _policies: Mapping[str, Policy]

    @property
    def policy(self) -> Policy:
        """The first model's."""
        return self._policies[self.models[0]]

    @contextmanager
    def use(self, model: str) -> Iterator[Policy]:
        """Within it the policy is that model."""
        policy = self._policies[model]
        with policy.base() if model != "tuned" and policy.has_adapter else nullcontext():
            yield policy


def subject_model(config: Config, adapter: Path | None) -> ModelConfig:
    """The model settings that an evaluation goes by: the run's where there is one, but for where and how long.

    Raises:
        CheckpointError: not a run, or one without a result yet.
        ConfigError: the configuration speaks of another base model, prompt format or precision than the run.
    """
    if adapter is None:
        return config.model.model_copy(update={"lora": None})
    paths = RunPaths(adapter)
    if not paths.config.is_file() or not paths.adapter.is_dir():
        raise CheckpointError(
            f"--adapter {adapter} holds no trained policy: wanted a run folder with config.yml and adapter/. "
            "Finish the run first (the same command with --resume), or give another folder."
        )
    own, given = load_config(paths.config).model, config.model
    pairs = {name: (getattr(own, name), getattr(given, name)) for name in ("checkpoint", "prompt_format", "precision")}
    wrong = [
        f"model.{name}: {trained} there, {asked} here"
        for name, (trained, asked) in pairs.items()
        if trained != asked and (name == "checkpoint" or asked != "auto")
    ]
    if wrong:
        remedy = " ".join(f"model.{name}={pairs[name][0]}" for name in pairs if pairs[name][0] != pairs[name][1])
        raise ConfigError(
            f"the run {adapter} was trained with other settings than the configuration has: {'; '.join(wrong)}. "
            f"Tuned and base model must be read alike: add {remedy}"
        )
    return own.model_copy(update={"device": given.device, "max_length": given.max_length})


def open_policy(model: ModelConfig, adapter: Path | None, num_rows: int) -> Policy:
    """The policy that a run trained, or that training would start from where `adapter` is None.

    Args:
        model: as `subject_model` gives it.
        adapter: a run folder, or None.
        num_rows: responses that it decodes side by side.

    Raises:
        UserError: the weights can't be had, or aren't those that the run was trained on.
    """
    if adapter is None:
        return Policy.load(model, num_rows=num_rows)
    policy = Policy.from_run(adapter, device=model.device, num_rows=num_rows)
    policy.max_length = model.max_length
    return policy


def untrained(config: Config) -> Policy:
    """The checkpoint without anything to train, for what stands on its weights."""
    policy = Policy.load(config.model.model_copy(update={"lora": None}))
    policy.model.requires_grad_(False)
    return policy


def open_subject(config: Config, adapter: Path | None) -> Subject:
    """The models, loaded.

    Args:
        config: `model` as `subject_model` gives it; of `evaluation`, whether base and few-shot are asked for.
        adapter: a run folder; None for the base model alone.

    Raises:
        UserError: the weights can't be had, or aren't those that the run was trained on.
    """
    model, rows = config.model, config.evaluation.num_rows
    others = ("base", *(("few_shot",) if config.evaluation.few_shot else ()))
    if adapter is None:
        policy = open_policy(model, None, rows)
        return Subject(others, _facts(policy, None), dict.fromkeys(others, policy))
    tuned = open_policy(model, adapter, rows)
    untuned = tuned
    if not tuned.has_adapter and config.evaluation.base:  # all weights were trained: the start is loaded beside them
        untuned = Policy.load(model.model_copy(update={"lora": None}), num_rows=rows)
    models = ("tuned", *(others if config.evaluation.base else ()))
    policies = {name: tuned if name == "tuned" else untuned for name in models}
    return Subject(models, _facts(tuned if tuned.has_adapter else untuned, adapter), policies)


def _facts(start: Policy, adapter: Path | None) -> dict[str, Any]:
    trained = None if adapter is None else trained_weights(adapter)
    return {"checkpoint": start.info.fingerprint, "trained": trained}


def trained_weights(run: Path) -> dict[str, str]:
    """The sha256 of each file of weights that a run made."""
    return {path.name: file_sha256(path) for path in sorted(RunPaths(run).adapter.glob("*.safetensors"))}
