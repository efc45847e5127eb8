"""Group relative policy optimization (Shao et al. 2024, arXiv 2402.03300): responses to one prompt against each other.

    A_i   = (score_i - mean of its group) / standard deviation of its group          the same for all its tokens
    loss  = mean over tokens of -min(r A, clip(r) A) + kl_coef x KL(policy || reference)

with r the probability ratio to the policy that sampled. Groups come from the rows of the rollouts, never from text.

Departures: the mean is over all tokens of the minibatch (`grpo.loss: response` is the paper's); the divergence in the
loss carries the token's ratio as its weight, without which it pulls in another direction than the divergence it
estimates (`core/kl.py`), also where the surrogate takes ratios of sequences; it is measured also where its coefficient
is 0. Options beside the paper: leave-one-out baseline (RLOO),
no division by the deviation and a constant length (Dr. GRPO), a higher upper clip and other prompts for groups that say
nothing (DAPO), ratios of sequences (GSPO, Zheng et al. 2025, arXiv 2507.18071).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemma_align.config import RLConfig
from gemma_align.config.methods import GRPOConfig
from gemma_align.core.advantages import group_relative, leave_one_out
from gemma_align.core.kl import kl_loss, log_ratio
from gemma_align.core.surrogate import clipped_surrogate
from gemma_align.trainers.policy_metrics import POLICY_METRICS, policy_metrics
from gemma_align.trainers.rollouts import Roller, Scored
from gemma_align.trainers.spares import Spares
from gemma_align.types import Batch, Example, Policy, Totals


@dataclass(frozen=True, slots=True)
class RolloutBatch(Batch):
    """N sampled responses with what was known when they were sampled."""

    old_logprobs: Float[Tensor, "N T"]  # of the policy that sampled, at the temperature of sampling
    ref_logprobs: Float[Tensor, "N T"]
    advantages: Float[Tensor, "N"]


class GRPO:
    """The two verbs of group relative policy optimization."""

    metrics = ("loss/policy", "loss/kl", *POLICY_METRICS)
    own = None

    def __init__(
        self, policy: Policy, roller: Roller, rl: RLConfig, settings: GRPOConfig, spares: Spares | None = None
    ) -> None:
        """What is trained, and how it is sampled and scored.

        Args:
            policy: what is trained.
            roller: samples it, scores the responses, and knows the reference.
            rl: the configuration's `rl`.
            settings: its `grpo`.
            spares: other prompts for groups whose scores are all equal, which are dropped; None: they stay.
        """
        self.policy = policy
        self.roller = roller
        self.rl = rl
        self.settings = settings
        self.spares = spares
        self.num_passes = settings.num_passes
        self.num_minibatches = settings.num_minibatches
        self._told: dict[str, float] = {}

    def prepare(self, examples: Sequence[Example]) -> RolloutBatch:
        """Samples a group of responses to each example, and scores them."""
        scored = self.roller.roll(examples, self.spares)
        advantages = self._advantages(scored)
        self._told = {
            "advantage/mean": float(advantages.double().sum()),
            "advantage/size": float(advantages.double().abs().sum()),
        }
        batch = RolloutBatch(
            scored.rollouts.responses,
            old_logprobs=scored.rollouts.logprobs,
            ref_logprobs=scored.ref_logprobs,
            advantages=advantages,
        )
        return batch if self.spares is None else batch.select((~scored.dead).nonzero().flatten())

    def told(self) -> tuple[dict[str, float], float]:
        """What the roller tells, and of the advantages; of the last batch."""
        sums, count = self.roller.told()
        return sums | self._told, count

    def loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """See the module. Metrics: see `policy_metrics`."""
        assert isinstance(batch, RolloutBatch)
        settings, low = self.settings, self.rl.clip_eps
        high = low if settings.clip_eps_high is None else settings.clip_eps_high
        logprobs, entropy = self.policy.logprobs_and_entropy(batch.responses, self.rl.temperature, "value")
        device = logprobs.device
        mask = batch.responses.mask.to(device)
        of_tokens = log_ratio(logprobs, batch.old_logprobs.to(device), mask)
        ratios = _of_sequences(of_tokens, mask) if settings.ratio == "sequence" else of_tokens
        advantages = torch.where(mask, batch.advantages.to(device)[:, None], 0.0)
        surrogate = clipped_surrogate(ratios, advantages, low, high)
        away = log_ratio(logprobs, batch.ref_logprobs.to(device), mask)
        kl = kl_loss(away, of_tokens, settings.kl_estimator)
        weights = self._weights(mask, totals)
        policy_part, kl_part = (weights * surrogate).sum(), (weights * kl).sum()
        return policy_part + self.rl.kl_coef * kl_part, {
            "loss/policy": policy_part.item(),
            "loss/kl": kl_part.item(),
            **policy_metrics(of_tokens, ratios, advantages, entropy, mask, totals, low, high),
        }

    def state_dict(self) -> dict[str, Any]:
        """See `Roller.state_dict`."""
        return self.roller.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.roller.load_state_dict(state)

    def _advantages(self, scored: Scored) -> Float[Tensor, "N"]:
        group: Int[Tensor, N] = scored.rollouts.responses.prompt_of
        if self.settings.baseline == "leave_one_out":
            return leave_one_out(scored.scores.total, group)
        return group_relative(scored.scores.total, group, self.settings.scale)

    def _weights(self, mask: Bool[Tensor, "N T"], totals: Totals) -> Float[Tensor, "N T"]:
        """What each token's loss is multiplied by; over all processes they add up to 1, or less for `constant`."""
        match self.settings.loss:
            case "token":
                return mask / totals.num_tokens
            case "response":
                return mask / mask.sum(dim=1, keepdim=True).clamp(min=1) / totals.num_sequences
            case "constant":
                return mask / (self.rl.max_response_tokens * totals.num_sequences)


def _of_sequences(ratios: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"]) -> Float[Tensor, "N T"]:
    """The mean log-ratio of each response, at each of its tokens (GSPO, eq. 7)."""
    mean = ratios.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(mask, mean, 0.0)
