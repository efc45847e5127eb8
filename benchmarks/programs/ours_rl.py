"""Whole steps of this project's GRPO or PPO on the given prompts: rollouts, scores, updates; nothing stops early."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from benchmarks.programs.child import serve
from benchmarks.programs.distinct import distinct_words
from benchmarks.programs.ours_training import SEED, facts, load_policy, train, training_settings
from benchmarks.programs.rates import measure
from gemma_align.config import RewardConfig, RLConfig
from gemma_align.config.methods import GRPOConfig, PPOConfig
from gemma_align.core.packing import microbatch_rows
from gemma_align.data.templates import PromptFormat
from gemma_align.models.heap import keep_heap_compact
from gemma_align.models.policy import Policy
from gemma_align.models.reference import Reference
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.trainers.grpo import GRPO
from gemma_align.trainers.ppo import PPO
from gemma_align.trainers.rollouts import Roller
from gemma_align.types import Answer, Example, Responses

PREFILL_ROWS = 512  # prompt tokens a pass, for the rate of the floor


@dataclass(frozen=True)
class Given(PromptFormat):
    """A checkpoint's format for prompts that are given as ids; example "1" is the second of them."""

    prompts: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, inner: PromptFormat, prompts: list[list[int]]) -> "Given":
        """Without anything at which sampling stops, so that everyone draws the same number of tokens."""
        known = {f.name: getattr(inner, f.name) for f in fields(inner)} | {"stop_ids": frozenset()}
        return cls(**known, prompts=tuple(map(tuple, prompts)))

    def prompt_ids(self, example: Example) -> tuple[int, ...]:
        """As they were given."""
        return self.prompts[int(example.id)]

    def decode(self, ids: Any) -> str:
        """Control tokens left out, as TRL's trainers hand responses to a reward."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


def _term(example: Example, answer: Answer) -> float:
    return distinct_words(answer.text)


def algorithm(job: dict[str, Any], policy: Policy) -> GRPO | PPO:
    """The method with the settings that both sides have."""
    rl = RLConfig(
        num_prompts=len(job["prompts"]),
        group_size=job["num_samples"],
        max_response_tokens=job["num_tokens"],
        temperature=1.0,
        kl_coef=job["kl_coef"],
    )
    reward = HybridReward("clinical", RewardConfig(alpha=0.0, beta=0.0), None, terms={"distinct": (_term, 1.0)})
    roller = Roller(policy, Reference(policy.trainable()), reward, rl, seed=SEED)
    if job["method"] == "grpo":
        return GRPO(policy, roller, rl, GRPOConfig())
    return PPO(policy, roller, rl, PPOConfig(num_passes=job["num_passes"]), seed=SEED)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: method, model, adapter, prompts, num_samples, num_tokens, num_steps, num_passes, learning_rate, kl_coef,
    max_tokens."""
    keep_heap_compact()
    torch.manual_seed(SEED)
    policy = load_policy(job)
    policy.prompt_format = Given.of(policy.prompt_format, job["prompts"])
    prompts = [Example(id=str(i), prompt="") for i in range(len(job["prompts"]))]
    settings = training_settings({**job, "batch_size": len(prompts)}, job["num_steps"])
    done = train(algorithm(job, policy), policy, prompts, settings, job)

    rows, told = job["num_samples"] * len(prompts), done.updates[0].metrics
    whole = torch.ones(rows, job["num_tokens"], dtype=torch.long)
    of = torch.arange(len(prompts)).repeat_interleave(job["num_samples"])
    responses = Responses(policy.prompt_format.prompts, of, whole, whole.bool())
    parts = len(microbatch_rows(responses, settings.max_tokens_per_microbatch))
    return {
        "seconds": done.seconds / len(done.updates),
        "peak_gb": done.peak_gb,
        "tokens": round(told["rollout/tokens"] * rows),
        "kl": told["policy/kl_k1"] / job["num_tokens"],
        "phases": done.phases,
        "rates": {
            **measure(
                policy.causal_lm,
                block_rows=max((sum(map(len, job["prompts"])) + whole.numel()) // parts, 1),
                head_rows=max(whole.numel() // parts, 1),
            ),
            "decode": measure(policy.causal_lm, block_rows=rows, head_rows=rows),
            "prefill": measure(policy.causal_lm, block_rows=PREFILL_ROWS, head_rows=rows, head=False),
        },
        **facts(settings, microbatches=parts),
    }


if __name__ == "__main__":
    serve(main)
