"""What this project says of a peer's rollouts: each response's mean log-probability at the start, and its score."""

from typing import Any

import torch

from benchmarks.programs.child import serve
from benchmarks.programs.distinct import distinct_words
from benchmarks.programs.ours_rl import Given
from benchmarks.programs.ours_training import load_policy
from gemma_align.data.collate import sharing_prompts


@torch.no_grad()
def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, prompts, rollouts (of each: prompt, its number; response, its ids)."""
    policy = load_policy(job)
    speaks = Given.of(policy.prompt_format, job["prompts"])
    drawn = [(speaks.prompts[rollout["prompt"]], tuple(rollout["response"])) for rollout in job["rollouts"]]
    responses = sharing_prompts(drawn)
    return {
        "seconds": 0.0,
        "logprobs": (policy.logprobs(responses).sum(dim=1) / responses.mask.sum(dim=1)).tolist(),
        "scores": [distinct_words(speaks.decode(response)) for _, response in drawn],
    }


if __name__ == "__main__":
    serve(main)
