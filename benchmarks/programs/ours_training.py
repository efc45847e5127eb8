"""This project's own loop over a method's updates, timed by phase; and what all programs of ours start from.

Memory is kept as a run keeps it (`experiments/stage.py`): rows above the budget make their activations again, and
free pages go back to the system once an update.
"""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from peft import set_peft_model_state_dict
from peft.utils import load_peft_weights

from benchmarks.programs.child import versions
from benchmarks.programs.profile import maybe_profile
from gemma_align.config import LoraConfig, ModelConfig, TrainingConfig
from gemma_align.models.heap import release_free_memory
from gemma_align.models.policy import Policy
from gemma_align.trainers.loop import Loop, Update
from gemma_align.trainers.schedule import batch_indices
from gemma_align.types import Algorithm, Example

T = TypeVar("T")
SEED = 0


def peak_gb() -> float:
    """Most memory resident at once in this process so far; taken before rates are measured."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def load_policy(job: dict[str, Any]) -> Policy:
    """The model with the given adapter's weights."""
    policy = Policy.load(ModelConfig(checkpoint=job["model"], device="cpu", precision="fp32", lora=LoraConfig(r=8)))
    if job.get("adapter"):
        missing = set_peft_model_state_dict(policy.model, load_peft_weights(job["adapter"], device="cpu"))
        assert not missing.unexpected_keys, missing.unexpected_keys
    return policy


def in_visiting_order(items: Sequence[T], batch_size: int) -> list[T]:
    """Arranged so that the loop, which draws its own order, visits them in the order given."""
    arranged: list[T] = list(items)
    steps = -(-len(items) // batch_size)
    visited = [i for step in range(steps) for i in batch_indices(step, len(items), batch_size, SEED)]
    for item, place in zip(items, visited, strict=True):
        arranged[place] = item
    return arranged


def training_settings(job: dict[str, Any], num_steps: int | None) -> TrainingConfig:
    """One epoch, or `num_steps` updates; job: batch_size, learning_rate, max_tokens (null: the default)."""
    chosen = {} if job["max_tokens"] is None else {"max_tokens_per_microbatch": job["max_tokens"]}
    return TrainingConfig(
        learning_rate=job["learning_rate"],
        batch_size=job["batch_size"],
        num_epochs=1,
        max_steps=num_steps,
        warmup_fraction=0.0,
        schedule="constant",
        **chosen,
    )


@dataclass(frozen=True, slots=True)
class Trained:
    """All updates of a loop, the seconds they took, and the peak of memory since the process began."""

    updates: list[Update]
    seconds: float
    phases: dict[str, float]
    peak_gb: float


def train(
    algorithm: Algorithm, policy: Policy, examples: Sequence[Example], settings: TrainingConfig, job: dict[str, Any]
) -> Trained:
    """Every update of one stage; `examples` stand in the order in which the loop visits them."""
    policy.recompute_above(settings.max_tokens_per_microbatch)
    phases: dict[str, float] = defaultdict(float)

    @contextmanager
    def timer(phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        phases[phase] += time.perf_counter() - started

    loop = Loop(
        algorithm,
        policy.trainable(),
        in_visiting_order(examples, settings.batch_size),
        settings,
        seed=SEED,
        accelerator=Accelerator(cpu=True),
        timer=timer,
    )
    started = time.perf_counter()
    with maybe_profile(job):
        updates = []
        for update in loop:
            updates.append(update)
            release_free_memory()
    return Trained(updates, time.perf_counter() - started, dict(phases), peak_gb())


def facts(settings: TrainingConfig, **more: Any) -> dict[str, Any]:
    """What the results say of how ours ran."""
    return {
        "settings": {
            "precision": "float32",
            "max_tokens_per_microbatch": settings.max_tokens_per_microbatch,
            "gradient_checkpointing": settings.gradient_checkpointing,
            "threads": torch.get_num_threads(),
            **more,
        },
        "versions": versions("torch", "transformers", "peft", "accelerate"),
    }
