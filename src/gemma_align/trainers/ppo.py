"""Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347) of a language model (Ouyang et al. 2022).

    reward_t = -kl_coef x KL_t to the reference, and the score at the response's last token
    A        = generalized advantage estimation of the rewards against the critic's values, whitened
    loss     = mean over tokens of -min(r A, clip(r) A) + value_coef x clipped squared error of the values

with r the probability ratio to the policy that sampled. The details are those of Huang et al. 2024, "The N+
implementation details of RLHF with PPO" (arXiv 2403.17031), unless the configuration says otherwise.

Departures: the score stands at the last token, the end token where there is one (TRL puts it one place later); values
exist for response tokens alone; advantages are whitened by the statistics of all processes; the critic is by default
no second model but low-rank matrices beside the frozen base (`models/value.py`), and its gradient is clipped by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gemma_align.config import RLConfig
from gemma_align.config.methods import PPOConfig
from gemma_align.core.advantages import Total, explained_variance, gae, token_rewards, whiten
from gemma_align.core.kl import adapted, kl_estimate, log_ratio
from gemma_align.core.masking import masked_sum
from gemma_align.core.surrogate import clipped_surrogate, clipped_value_loss, clipped_values
from gemma_align.models.policy import Policy
from gemma_align.models.value import Head, OwnCritic
from gemma_align.trainers.policy_metrics import POLICY_METRICS, policy_metrics
from gemma_align.trainers.rollouts import Roller, Scored
from gemma_align.trainers.shaping import ScoreShaping
from gemma_align.types import Batch, Example, OwnWeights, Responses, Totals

VALUE_METRICS = ("loss/value", "value/clipped", "value/mean")


@dataclass(frozen=True, slots=True)
class PPOBatch(Batch):
    """N sampled responses with what was known when they were sampled; (N, T), 0 where masked."""

    old_logprobs: Float[Tensor, "N T"]
    old_values: Float[Tensor, "N T"]
    advantages: Float[Tensor, "N T"]
    returns: Float[Tensor, "N T"]


class PPO:
    """The two verbs of proximal policy optimization."""

    metrics = ("loss/policy", *VALUE_METRICS, *POLICY_METRICS)

    def __init__(
        self,
        policy: Policy,
        roller: Roller,
        rl: RLConfig,
        settings: PPOConfig,
        *,
        seed: int,
        total: Total = list,
    ) -> None:
        """What is trained, and how it is sampled and scored.

        Args:
            policy: what is trained.
            roller: samples it, scores the responses, and knows the reference.
            rl: the configuration's `rl`.
            settings: its `ppo`.
            seed: of the critic's first weights.
            total: adds numbers up over all processes.
        """
        self.policy = policy
        self.roller = roller
        self.rl = rl
        self.settings = settings
        self.num_passes = settings.num_passes
        self.num_minibatches = settings.num_minibatches
        self.kl_coef = rl.kl_coef
        self.shaping = ScoreShaping(settings, total)
        self._total = total
        self._begun = settings.head_bias == "zero"
        self._told: tuple[dict[str, float], float] = ({}, 0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if settings.critic == "own":
                self.critic: OwnCritic | Head = OwnCritic(policy, settings.critic_rank, settings.head_start)
                loss = self.value_loss
            else:
                size = int(policy.causal_lm.config.hidden_size)
                self.critic, loss = Head(size, settings.head_start, policy.device), None
        weights = {f"critic.{name}": weight for name, weight in self.critic.named_parameters()}
        self.own = OwnWeights(weights, settings.critic_learning_rate, loss)

    def prepare(self, examples: Sequence[Example]) -> PPOBatch:
        """Samples responses to each example, scores them, and judges their tokens."""
        scored = self.roller.roll(examples)
        responses, old = scored.rollouts.responses, scored.rollouts.logprobs
        mask = responses.mask
        scores = self.shaping(scored.scores.total, scored.rollouts.finished)
        self._begin_at(scores)
        values = self.values(responses)
        away = log_ratio(old, scored.ref_logprobs, mask)
        kl = kl_estimate(away, self.settings.kl_estimator)
        rewards = token_rewards(scores, kl, mask, self.kl_coef)
        advantages = gae(rewards, values, mask, self.settings.gamma, self.settings.gae_lambda)
        returns = advantages + values
        self._tell(scored, values, returns, advantages)
        self._adapt(float(away.sum()), float(len(responses)))
        return PPOBatch(
            responses,
            old_logprobs=old,
            old_values=values,
            advantages=whiten(advantages, mask, total=self._total),
            returns=returns,
        )

    def told(self) -> tuple[dict[str, float], float]:
        """What the roller tells, and of the critic; of the last batch."""
        return self._told

    def loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The policy's loss, and the values' where the critic is a head on the policy. See the module."""
        assert isinstance(batch, PPOBatch)
        eps, temperature = self.rl.clip_eps, self.rl.temperature
        values = None
        if isinstance(self.critic, Head):
            logprobs, entropy, values = self.policy.with_values(batch.responses, self.critic, temperature)
        else:
            logprobs, entropy = self.policy.logprobs_and_entropy(batch.responses, temperature, "value")
        device = logprobs.device
        mask = batch.responses.mask.to(device)
        ratios = log_ratio(logprobs, batch.old_logprobs.to(device), mask)
        advantages = batch.advantages.to(device)
        surrogate = clipped_surrogate(ratios, advantages, eps, eps, self.settings.dual_clip)
        loss = policy_loss = masked_sum(surrogate, mask) / totals.num_tokens
        told = policy_metrics(ratios, ratios, advantages, entropy, mask, totals, eps, eps, self.settings.dual_clip)
        if values is not None:
            value_loss, of_values = self._value_loss(values, batch, totals)
            loss = policy_loss + self.settings.value_coef * value_loss
            told |= of_values
        return loss, {"loss/policy": policy_loss.item(), **told}

    def value_loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """The loss of a critic with weights of its own."""
        assert isinstance(batch, PPOBatch)
        assert isinstance(self.critic, OwnCritic)
        loss, told = self._value_loss(self.critic(batch.responses), batch, totals)
        return self.settings.value_coef * loss, told

    def state_dict(self) -> dict[str, Any]:
        """The roller's, the coefficient of the divergence, the scores' statistics, whether the values have begun."""
        shaping = self.shaping.state_dict()
        return {"roller": self.roller.state_dict(), "kl_coef": self.kl_coef, "shaping": shaping, "begun": self._begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.roller.load_state_dict(state["roller"])
        self.kl_coef = float(state["kl_coef"])
        self.shaping.load_state_dict(state["shaping"])
        self._begun = bool(state["begun"])

    @torch.no_grad()
    def values(self, responses: Responses) -> Float[Tensor, "N T"]:
        """The critic's, on the CPU."""
        if isinstance(self.critic, OwnCritic):
            return self.critic(responses).cpu()
        return self.policy.with_values(responses, self.critic, self.rl.temperature)[2].cpu()

    def _begin_at(self, scores: Float[Tensor, "N"]) -> None:
        """Once: the values begin at the mean of the first scores. Then a response's end isn't bad only because the
        critic doesn't know yet how low scores are."""
        if self._begun:
            return
        count, summed = self._total([float(len(scores)), float(scores.sum())])
        if count:
            self._begun = True
            head = self.critic.head if isinstance(self.critic, OwnCritic) else self.critic
            with torch.no_grad():
                head.bias.fill_(summed / count)

    def _value_loss(
        self, values: Float[Tensor, "N T"], batch: PPOBatch, totals: Totals
    ) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Mean over tokens, and metrics."""
        device, eps = values.device, self.settings.value_clip_eps
        mask, old, returns = batch.responses.mask.to(device), batch.old_values.to(device), batch.returns.to(device)
        loss = masked_sum(clipped_value_loss(values, old, returns, eps), mask) / totals.num_tokens
        seen = values.detach()
        cut = clipped_values(seen, old, returns, eps)
        return loss, {
            "loss/value": loss.item(),
            "value/clipped": float((cut & mask).sum()) / totals.num_tokens,
            "value/mean": float(seen.masked_fill(~mask, 0.0).sum()) / totals.num_tokens,
        }

    def _tell(
        self,
        scored: Scored,
        values: Float[Tensor, "N T"],
        returns: Float[Tensor, "N T"],
        advantages: Float[Tensor, "N T"],
    ) -> None:
        mask = scored.rollouts.responses.mask
        sums, count = self.roller.told()
        everywhere = {
            "value/explained_variance": explained_variance(values, returns, mask, self._total),
            "policy/kl_coef": self.kl_coef,
        }
        lengths = mask.sum(dim=1).clamp(min=1)
        of_responses = {  # of a response's mean token
            "advantage/mean": (advantages.sum(dim=1) / lengths),
            "advantage/size": (advantages.abs().sum(dim=1) / lengths),
        }
        self._told = (
            sums
            | {name: value * count for name, value in everywhere.items()}
            | {name: float(column.double().sum()) for name, column in of_responses.items()},
            count,
        )

    def _adapt(self, nats: float, num_responses: float) -> None:
        """The coefficient of the next batch, where a divergence is aimed at."""
        if self.settings.kl_target is None:
            return
        nats, num_responses = self._total([nats, num_responses])
        if num_responses:
            measured = nats / num_responses
            self.kl_coef = adapted(
                self.kl_coef, measured, self.settings.kl_target, num_responses, self.settings.kl_horizon
            )
