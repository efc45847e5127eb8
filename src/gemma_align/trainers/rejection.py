"""Rejection sampling: supervised fine-tuning on the best of n of the policy's own responses, again and again.

    loss = - mean over the tokens of the best response to each prompt of log p(token)

(Dong et al. 2023, "RAFT", arXiv 2304.06767; "expert iteration"). The plainest way to follow a reward, and what a method
with advantages has to beat at the same number of samples: no ratio, no clipping, no divergence in the loss. The
divergence from the reference is measured all the same.

Of a group whose scores are all equal nothing is best, and it is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemma_align.core.masking import masked_sum
from gemma_align.trainers.rollouts import Roller
from gemma_align.trainers.sft import sft_loss
from gemma_align.types import Batch, Example, Policy, Totals


def best_of_groups(scores: Float[Tensor, "N"], group: Int[Tensor, "N"]) -> Int[Tensor, "_"]:
    """The row of each group's highest score, the first of equal ones; none of a group whose scores are all equal."""
    rows = []
    for g in group.unique().tolist():
        own = (group == g).nonzero().flatten()
        if bool((scores[own] > scores[own].min()).any()):
            rows.append(int(own[scores[own].argmax()]))
    return torch.tensor(rows, dtype=torch.long)


class Rejection:
    """The two verbs of rejection sampling."""

    metrics = ("loss/rejection",)
    num_passes = 1
    num_minibatches = 1
    own = None

    def __init__(self, policy: Policy, roller: Roller) -> None:
        """`roller` samples the policy, scores the responses, and knows the reference."""
        self.policy = policy
        self.roller = roller

    def prepare(self, examples: Sequence[Example]) -> Batch:
        """Samples a group of responses to each example, and keeps the best of each."""
        scored = self.roller.roll(examples)
        responses = scored.rollouts.responses
        return Batch(responses.select(best_of_groups(scored.scores.total, responses.prompt_of)))

    def told(self) -> tuple[dict[str, float], float]:
        """Scores, their parts, divergence, lengths; of all samples of the last batch."""
        return self.roller.told()

    def loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Nats a token of the chosen responses, at the temperature they were sampled at."""
        logprobs = self.policy.logprobs(batch.responses, self.roller.rl.temperature)
        mask = batch.responses.mask.to(logprobs.device)
        loss = masked_sum(sft_loss(logprobs, mask), mask) / totals.num_tokens
        return loss, {"loss/rejection": loss.item()}

    def state_dict(self) -> dict[str, Any]:
        """See `Roller.state_dict`."""
        return self.roller.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.roller.load_state_dict(state)
