"""Supervised fine-tuning: next-token loss on the tokens of the reference response.

    loss = - sum over response tokens of log p(token | prompt, tokens before) / response tokens of the whole minibatch

The mean is over tokens, not over responses, so a long response weighs as much as its tokens. Prompt tokens get no
loss; the end token does, or the policy would never learn to stop.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gemma_align.core.masking import masked_sum
from gemma_align.types import Batch, Example, Policy, Responses, Totals


def sft_loss(logprobs: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    """Unreduced loss: minus the log-probability of each response token, 0 where masked."""
    return torch.where(mask, -logprobs, 0.0)


class SFT:
    """The two verbs of supervised fine-tuning."""

    metrics = ("loss/sft",)
    num_passes = 1
    num_minibatches = 1
    own = None
    shown = ""
    tune_unit = "nats a token"

    def __init__(self, policy: Policy, encode: Callable[[Sequence[Example]], Responses]) -> None:
        """`encode` turns examples into their reference responses' tokens."""
        self.policy = policy
        self.encode = encode

    def prepare(self, examples: Sequence[Example]) -> Batch:
        """Tokens of prompts and reference responses."""
        return Batch(responses=self.encode(examples))

    def loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Mean negative log-likelihood of a response token, in nats."""
        logprobs = self.policy.logprobs(batch.responses)
        mask = batch.responses.mask.to(logprobs.device)
        loss = masked_sum(sft_loss(logprobs, mask), mask) / totals.num_tokens
        return loss, {"loss/sft": loss.item()}

    def told(self) -> tuple[dict[str, float], float]:
        """Nothing beside the loss."""
        return {}, 1.0

    def tune(self, examples: Sequence[Example]) -> tuple[dict[str, float], float]:
        """The loss of the tune split: nats, to be divided by the tokens."""
        responses = self.encode(examples)
        nats = -float(self.policy.logprobs(responses).double().sum()) if examples else 0.0
        return {"loss": nats}, float(responses.mask.sum())

    def state_dict(self) -> dict[str, Any]:
        """Nothing runs along."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing runs along."""
