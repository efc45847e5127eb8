"""This project's SFT on the given token ids: its own loop, one epoch, in the given order, from the given adapter."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.programs.child import serve
from benchmarks.programs.ours_training import SEED, facts, load_policy, train, training_settings
from benchmarks.programs.rates import measure
from gemma_align.core.packing import microbatch_rows
from gemma_align.data.collate import collate
from gemma_align.data.templates import Fitted
from gemma_align.models.heap import keep_heap_compact
from gemma_align.trainers.sft import SFT
from gemma_align.types import Example, Responses


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, examples, batch_size, learning_rate, max_steps, max_tokens (null: the default)."""
    keep_heap_compact()
    torch.manual_seed(SEED)
    policy = load_policy(job)
    fitted = {str(i): Fitted(tuple(e["prompt"]), tuple(e["response"])) for i, e in enumerate(job["examples"])}
    examples = [Example(id=key, prompt="") for key in fitted]

    def encode(batch: Sequence[Example]) -> Responses:
        return collate([fitted[example.id] for example in batch])

    settings = training_settings(job, job["max_steps"])
    done = train(SFT(policy, encode), policy, examples, settings, job)

    whole = encode(examples)
    num_microbatches = max(
        sum(
            len(microbatch_rows(whole.select(rows), settings.max_tokens_per_microbatch))
            for rows in torch.arange(len(fitted)).split(job["batch_size"])
        ),
        1,
    )
    tokens = int(whole.mask.sum()) + sum(map(len, whole.prompt_ids))
    return {
        "seconds": done.seconds,
        "peak_gb": done.peak_gb,
        "losses": [update.metrics["loss/sft"] for update in done.updates],
        "phases": done.phases,
        "rates": measure(
            policy.causal_lm,
            block_rows=max(tokens // num_microbatches, 1),
            head_rows=max(int(whole.mask.sum()) // num_microbatches, 1),
        ),
        **facts(settings),
    }


if __name__ == "__main__":
    serve(main)
