"""This project's SFT on the given token ids: its own loop, one epoch, in the given order, from the given adapter.

Memory is kept as a run keeps it (`experiments/stage.py`): rows above the budget make their activations again, and
free pages go back to the system once an update.
"""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from peft import set_peft_model_state_dict
from peft.utils import load_peft_weights

from benchmarks.programs.child import serve, versions
from benchmarks.programs.profile import maybe_profile
from benchmarks.programs.rates import measure
from gemma_align.config import LoraConfig, ModelConfig, TrainingConfig
from gemma_align.core.packing import microbatch_rows
from gemma_align.data.collate import collate
from gemma_align.data.templates import Fitted
from gemma_align.models.policy import Policy
from gemma_align.trainers.loop import Loop
from gemma_align.trainers.memory import keep_heap_compact, release_free_memory
from gemma_align.trainers.schedule import batch_indices
from gemma_align.trainers.sft import SFT
from gemma_align.types import Example, Responses

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


def train(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, examples, batch_size, learning_rate, max_steps, max_tokens (null: the default)."""
    keep_heap_compact()
    torch.manual_seed(SEED)
    policy = load_policy(job)
    fitted = {str(i): Fitted(tuple(e["prompt"]), tuple(e["response"])) for i, e in enumerate(job["examples"])}
    examples = in_visiting_order([Example(id=key, prompt="") for key in fitted], job["batch_size"])

    def encode(batch: Sequence[Example]) -> Responses:
        return collate([fitted[example.id] for example in batch])

    chosen = {} if job["max_tokens"] is None else {"max_tokens_per_microbatch": job["max_tokens"]}
    settings = TrainingConfig(
        learning_rate=job["learning_rate"],
        batch_size=job["batch_size"],
        num_epochs=1,
        max_steps=job["max_steps"],
        warmup_fraction=0.0,
        schedule="constant",
        **chosen,
    )
    policy.recompute_above(settings.max_tokens_per_microbatch)
    phases: dict[str, float] = defaultdict(float)

    @contextmanager
    def timer(phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        phases[phase] += time.perf_counter() - started

    loop = Loop(
        SFT(policy, encode),
        policy.trainable(),
        examples,
        settings,
        seed=SEED,
        accelerator=Accelerator(cpu=True),
        timer=timer,
    )
    started = time.perf_counter()
    with maybe_profile(job):
        losses = []
        for update in loop:
            losses.append(update.metrics["loss/sft"])
            release_free_memory()
    seconds = time.perf_counter() - started
    peak = peak_gb()

    whole = encode([Example(id=key, prompt="") for key in fitted])
    num_microbatches = max(
        sum(
            len(microbatch_rows(whole.select(rows), settings.max_tokens_per_microbatch))
            for rows in torch.arange(len(fitted)).split(job["batch_size"])
        ),
        1,
    )
    tokens = int(whole.mask.sum()) + sum(map(len, whole.prompt_ids))
    return {
        "seconds": seconds,
        "peak_gb": peak,
        "losses": losses,
        "phases": dict(phases),
        "rates": measure(
            policy.causal_lm,
            block_rows=max(tokens // num_microbatches, 1),
            head_rows=max(int(whole.mask.sum()) // num_microbatches, 1),
        ),
        "settings": {
            "precision": "float32",
            "max_tokens_per_microbatch": settings.max_tokens_per_microbatch,
            "gradient_checkpointing": settings.gradient_checkpointing,
            "threads": torch.get_num_threads(),
        },
        "versions": versions("torch", "transformers", "peft", "accelerate"),
    }


if __name__ == "__main__":
    serve(train)
