"""Which models an evaluation measures: a base model alone, or what a run trained and what it started from."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_align.config import Config, ModelConfig, load_config
from gemma_align.errors import CheckpointError, ConfigError
from gemma_align.evaluation.names import UNTUNED, best_of_name
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.models.fingerprint import file_sha256
from gemma_align.models.policy import Policy


@dataclass(frozen=True, slots=True)
class Subject:
    """The models by name, the one in question first: "tuned" before "base", or "base" alone, then "few_shot", and
    "best_of_N", which samples the first.

    facts  what tells one subject from another: fingerprints of the checkpoint and of what was trained
    start  what a reward stands on: a policy whose base weights nothing has trained
    """

    models: tuple[str, ...]
    facts: Mapping[str, Any]
    start: Policy
    _policies: Mapping[str, Policy]

    @property
    def policy(self) -> Policy:
        """The first model's."""
        return self._policies[self.models[0]]

    @contextmanager
    def use(self, model: str) -> Iterator[Policy]:
        """Within it the policy is that model."""
        policy = self._policies[model]
        with policy.base() if model in UNTUNED and policy.has_adapter else nullcontext():
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
        return _frozen(model, num_rows=num_rows)
    policy = Policy.from_run(adapter, device=model.device, num_rows=num_rows)
    policy.max_length = model.max_length
    return policy


def untrained(config: Config) -> Policy:
    """The checkpoint without anything to train, for what stands on its weights."""
    return _frozen(config.model.model_copy(update={"lora": None}))


def reward_policy(config: Config, policy: Policy) -> Policy:
    """What a reward stands on while a run's policy is evaluated: weights that nothing has trained.

    They are the policy's own under its adapter; where all weights were trained, the checkpoint is loaded once more.
    """
    return policy if policy.has_adapter else untrained(config)


def _frozen(model: ModelConfig, **kwargs: Any) -> Policy:
    policy = Policy.load(model, **kwargs)
    policy.model.requires_grad_(False)
    return policy


def open_subject(config: Config, adapter: Path | None) -> Subject:
    """The models, loaded.

    Args:
        config: `model` as `subject_model` gives it; of `evaluation`, which models are asked for.
        adapter: a run folder; None for the base model alone.

    Raises:
        UserError: the weights can't be had, or aren't those that the run was trained on.
    """
    model, asked, rows = config.model, config.evaluation, config.evaluation.num_rows
    untuned_models = ("base", *(("few_shot",) if asked.few_shot else ()))
    best = (best_of_name(asked.best_of),) if asked.best_of else ()
    if adapter is None:
        policy = open_policy(model, None, rows)
        models = (*untuned_models, *best)
        return Subject(models, _facts(policy, None), policy, dict.fromkeys(models, policy))
    tuned = open_policy(model, adapter, rows)
    untuned = tuned
    if not tuned.has_adapter and (asked.base or best):  # all weights were trained: the start is loaded beside them
        untuned = _frozen(model.model_copy(update={"lora": None}), num_rows=rows)
    policies = {"tuned": tuned, **dict.fromkeys(untuned_models if asked.base else (), untuned)}
    policies |= dict.fromkeys(best, tuned)
    return Subject(tuple(policies), _facts(untuned, adapter), untuned, policies)


def _facts(start: Policy, adapter: Path | None) -> dict[str, Any]:
    trained = None if adapter is None else trained_weights(adapter)
    return {"checkpoint": start.info.fingerprint, "trained": trained}


def trained_weights(run: Path) -> dict[str, str]:
    """The sha256 of each file of weights that a run made."""
    return {path.name: file_sha256(path) for path in sorted(RunPaths(run).adapter.glob("*.safetensors"))}
