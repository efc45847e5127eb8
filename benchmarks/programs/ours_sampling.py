"""This project's sampler on the given prompts; nothing stops early.

Timed is what a step of reinforcement learning repeats: taking over the adapter's new weights, computing the prompts,
drawing the tokens.
"""

import time
from typing import Any

import torch

from benchmarks.programs.child import serve, versions
from benchmarks.programs.ours_training import load_policy, peak_gb
from benchmarks.programs.profile import maybe_profile
from benchmarks.programs.rates import measure
from gemma_align.models.decoder import Decoder
from gemma_align.models.rollout import Generated, generate
from gemma_align.types import Sampling

PREFILL_ROWS = 512  # prompt tokens a pass, for the rate of the floor


def sample(decoder: Decoder, job: dict[str, Any], num_tokens: int, seed: int) -> Generated:
    """prompts x num_samples responses of num_tokens each."""
    return generate(
        decoder,
        job["prompts"],
        num_samples=job["num_samples"],
        sampling=Sampling(max_tokens=num_tokens, temperature=1.0, seed=seed),
        stop_ids=frozenset(),
        num_rows=job["num_samples"] * len(job["prompts"]),
    )


@torch.no_grad()
def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, prompts, num_samples, num_tokens, head."""
    num_rows = job["num_samples"] * len(job["prompts"])
    policy = load_policy(job)
    decoder = Decoder(policy.causal_lm, head=job["head"])
    sample(decoder, job, 3, seed=1)
    for weight in policy.trainable().values():
        weight.mul_(1.0)  # as an optimizer step would, so that the copies are made again
    started = time.perf_counter()
    with maybe_profile(job):
        decoder.refresh(policy.causal_lm)
        refreshed = time.perf_counter()
        out = sample(decoder, job, job["num_tokens"], seed=0)
    seconds = time.perf_counter() - started
    peak = peak_gb()
    decoder.release()
    return {
        "seconds": seconds,
        "peak_gb": peak,
        "refresh_seconds": refreshed - started,
        "tokens": int(out.mask.sum()),
        "responses": out.ids.tolist(),
        "logprobs": out.logprobs.mean(dim=1).tolist(),
        "rates": {
            "decode": measure(policy.causal_lm, block_rows=num_rows, head_rows=num_rows),
            "prefill": measure(policy.causal_lm, block_rows=PREFILL_ROWS, head_rows=num_rows, head=False),
        },
        "settings": {
            "precision": "float32" + (", head in int8" if job["head"] == "int8" else ""),
            "head": job["head"],
            "rows": num_rows,
            "prompt": "computed once, cache shared by its samples",
            "threads": torch.get_num_threads(),
        },
        "versions": versions("torch", "transformers", "peft"),
    }


if __name__ == "__main__":
    serve(main)
