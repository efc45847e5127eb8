"""The update of a step of reinforcement learning on given responses: reference, forward, backward.

The loss is the clipped ratio's at its start plus the divergence from the reference: what any method's update costs,
since a loss only multiplies the per-token gradients by its own coefficients.
"""

import time
from statistics import median
from typing import Any

import torch

from benchmarks.programs.child import serve, versions
from benchmarks.programs.ours_training import load_policy, peak_gb
from benchmarks.programs.profile import maybe_profile
from benchmarks.programs.rates import measure
from gemma_align.core.masking import masked_sum
from gemma_align.core.packing import microbatch_rows
from gemma_align.models.heap import keep_heap_compact
from gemma_align.models.policy import Policy
from gemma_align.types import Responses


def update(policy: Policy, responses: Responses, advantages: torch.Tensor, max_tokens: int, kl_coef: float) -> float:
    """Leaves the gradient in the weights and gives the loss."""
    with torch.no_grad(), policy.base():
        reference = policy.logprobs(responses)
    total, whole = 0.0, responses.mask.sum()
    for rows in microbatch_rows(responses, max_tokens):
        part = responses.select(rows)
        logprobs = policy.logprobs(part)
        ratio = torch.exp(logprobs - logprobs.detach())
        gap = reference[rows, : logprobs.shape[1]] - logprobs
        kl = torch.exp(gap) - gap - 1  # Schulman's k3 estimator
        loss = masked_sum(kl_coef * kl - ratio * advantages[rows, None], part.mask) / whole
        loss.backward()
        total += loss.item()
    return total


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, prompts, num_samples, responses (N x T ids), repeats, max_tokens."""
    keep_heap_compact()  # as a run does
    policy = load_policy(job)
    ids = torch.tensor(job["responses"])
    prompt_of = torch.arange(len(job["prompts"])).repeat_interleave(job["num_samples"])
    responses = Responses(tuple(map(tuple, job["prompts"])), prompt_of, ids, torch.ones_like(ids, dtype=torch.bool))
    advantages = torch.randn(len(ids), generator=torch.Generator().manual_seed(0))
    max_tokens = job["max_tokens"]
    microbatches = microbatch_rows(responses, max_tokens)

    def once() -> float:
        policy.model.zero_grad(set_to_none=True)
        started = time.perf_counter()
        update(policy, responses, advantages, max_tokens, kl_coef=0.05)
        return time.perf_counter() - started

    once()  # makes the kernels
    with maybe_profile(job):
        times = [once() for _ in range(job["repeats"])]
    peak = peak_gb()
    row_tokens = sum(map(len, job["prompts"])) + ids.numel()
    return {
        "seconds": median(times),
        "peak_gb": peak,
        "repeats": times,
        "rates": measure(
            policy.causal_lm,
            block_rows=max(row_tokens // len(microbatches), 1),
            head_rows=max(ids.numel() // len(microbatches), 1),
        ),
        "settings": {
            "precision": "float32",
            "max_tokens_per_microbatch": max_tokens,
            "microbatches": len(microbatches),
            "threads": torch.get_num_threads(),
        },
        "versions": versions("torch", "transformers", "peft"),
    }


if __name__ == "__main__":
    serve(main)
