"""This project's DPO on the given pairs of token ids, in the given order, from the given adapter."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.programs.child import serve
from benchmarks.programs.ours_training import SEED, facts, load_policy, train, training_settings
from benchmarks.programs.rates import measure
from gemma_align.config.methods import DPOConfig
from gemma_align.core.packing import microbatch_rows
from gemma_align.core.padding import padded
from gemma_align.models.heap import keep_heap_compact
from gemma_align.models.reference import Reference
from gemma_align.trainers.dpo import DPO
from gemma_align.types import Example, Responses


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, pairs, batch_size, learning_rate, beta, max_tokens (null: the default)."""
    keep_heap_compact()
    torch.manual_seed(SEED)
    policy = load_policy(job)
    pairs = {str(i): pair for i, pair in enumerate(job["pairs"])}

    def encode(batch: Sequence[Example]) -> Responses:
        chosen = [pairs[example.id] for example in batch]
        ids, mask = padded([tuple(pair[side]) for pair in chosen for side in ("chosen", "rejected")])
        prompt_of = torch.arange(len(chosen)).repeat_interleave(2)
        return Responses(tuple(tuple(pair["prompt"]) for pair in chosen), prompt_of, ids, mask)

    settings = training_settings(job, None)
    dpo = DPO(policy, Reference(policy.trainable()), encode, DPOConfig(beta=job["beta"]))
    done = train(dpo, policy, [Example(id=key, prompt="") for key in pairs], settings, job)

    batch = encode([Example(id=key, prompt="") for key in list(pairs)[: job["batch_size"]]])
    parts = len(microbatch_rows(batch, settings.max_tokens_per_microbatch, whole_prompts=True))
    responses = int(batch.mask.sum())
    return {
        "seconds": done.seconds / len(done.updates),
        "peak_gb": done.peak_gb,
        "losses": [update.metrics["loss/dpo"] for update in done.updates],
        "chosen": [update.metrics["policy/chosen_logprob"] for update in done.updates],
        "rejected": [update.metrics["policy/rejected_logprob"] for update in done.updates],
        "phases": done.phases,
        "rates": measure(
            policy.causal_lm,
            block_rows=max((sum(map(len, batch.prompt_ids)) + responses) // parts, 1),
            head_rows=max(responses // parts, 1),
        ),
        **facts(settings),
    }


if __name__ == "__main__":
    serve(main)
