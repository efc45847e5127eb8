"""What the tests of the methods share: a tiny policy, a loop around an algorithm, samples judged by a term."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from gemma_align.config import LoraConfig, ModelConfig, RewardConfig, RLConfig, TrainingConfig
from gemma_align.models.policy import Policy
from gemma_align.models.reference import Reference
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.trainers.loop import Loop
from gemma_align.trainers.rollouts import Roller
from gemma_align.types import Answer, Batch, Example, Totals

RANK_4 = LoraConfig(r=4)
PROMPTS = [Example(str(i), "say something " * (1 + i % 3), cue="Answer:") for i in range(12)]
RL = RLConfig(num_prompts=3, group_size=4, max_response_tokens=6, kl_coef=0.05)
SCHEDULED = {"schedule": "cosine", "warmup_fraction": 0.05}  # the configuration's own; `make_loop` is constant
OFF = RewardConfig(alpha=0.0, beta=0.0)


def tiny_policy(seed: int = 0, moved: float = 0.0, lora: LoraConfig | None = RANK_4) -> Policy:
    """`moved`: how far each trained weight stands from its start, so that nothing is 0 by chance."""
    torch.manual_seed(seed)
    policy = Policy.load(ModelConfig(checkpoint="tiny", lora=lora, device="cpu"))
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(moved * torch.randn_like(weight))
    return policy


def make_roller(policy: Policy, term: Any, rl: RLConfig = RL, seed: int = 0) -> Roller:
    """`term` is the whole score of an answer."""
    reward = HybridReward("clinical", OFF, None, terms={"term": (term, 1.0)})
    return Roller(policy, Reference(policy.trainable()), reward, rl, seed=seed)


def make_loop(policy: Policy, algorithm: Any, examples: Any = PROMPTS, seed: int = 0, **settings: Any) -> Loop:
    """A loop with a constant learning rate."""
    settings = {"learning_rate": 1e-3, "batch_size": 3, "schedule": "constant", "warmup_fraction": 0.0} | settings
    return Loop(
        algorithm,
        policy.trainable(),
        examples,
        TrainingConfig(**settings),
        seed=seed,
        accelerator=Accelerator(cpu=True),
        timer=lambda phase: nullcontext(),
    )


def weights(owner: Any) -> dict[str, Tensor]:
    """Copies of what is trained, of a policy or a loop."""
    live = owner.trainable() if isinstance(owner, Policy) else owner.weights
    return {name: weight.detach().clone() for name, weight in live.items()}


def require_exact_resume(start: Callable[[], Loop], elsewhere: Callable[[], Loop]) -> None:
    """Two updates, and the rest from their state, end in the bits of a loop that wasn't stopped.

    Args:
        start: makes the loop; an equal one each time.
        elsewhere: makes it as another process finds it: with other weights, neither the reference's nor the policy's.
    """
    unbroken = start()
    expected = [u.metrics for u in unbroken]
    first = start()
    updates = iter(first)
    begun = [next(updates).metrics for _ in range(2)]
    state = copy.deepcopy(first.state())
    again = elsewhere()
    again.restore(state)
    assert begun + [u.metrics for u in again] == expected
    for name, weight in weights(unbroken).items():
        assert torch.equal(weights(again)[name], weight), name


def totals(batch: Batch) -> Totals:
    """Of a batch that is a whole minibatch."""
    return Totals(float(batch.responses.mask.sum()), float(len(batch)))


def vowels(example: Example, answer: Answer) -> float:
    """Share of the characters that are one of half of the letters: what a policy can learn without long responses."""
    return sum(c in "aeioubcdfgh" for c in answer.text.lower()) / max(1, len(answer.text))


def early(example: Example, answer: Answer) -> float:
    """1 where the text begins with one of the first eight letters."""
    letters = [c for c in answer.text.lower() if c.isalpha()]
    return float(bool(letters) and letters[0] in "abcdefgh")
