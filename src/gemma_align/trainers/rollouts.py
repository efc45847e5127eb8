"""Rollouts with what is known of them: sampled responses, the reference's log-probabilities, scores.

Every sample has random numbers of its own, which depend on the seed, the batch's number, its example and its place in
the group: the same responses come whatever process draws them and in whatever company.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemma_align.config import RLConfig
from gemma_align.core.advantages import Total
from gemma_align.core.kl import kl_estimate, log_ratio
from gemma_align.data.splits import hashed
from gemma_align.models.reference import Reference
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.types import Answer, Example, Policy, Responses, Rollouts, Sampling, Scores


@dataclass(frozen=True, slots=True)
class Scored:
    """Rollouts of N responses and what they are worth."""

    rollouts: Rollouts
    ref_logprobs: Float[Tensor, "N T"]
    scores: Scores


class Roller:
    """Samples a policy and scores what it says."""

    tune_unit = "(minus the score) a response"

    def __init__(
        self,
        policy: Policy,
        reference: Reference,
        reward: HybridReward,
        rl: RLConfig,
        *,
        seed: int,
        total: Total = list,
    ) -> None:
        """What is sampled and what judges it.

        Args:
            policy: what is sampled.
            reference: the policy as it is when the stage begins.
            reward: scores the responses.
            rl: the configuration's `rl`.
            seed: of all samples.
            total: adds numbers up over all processes.
        """
        self.policy = policy
        self.reference = reference
        self.reward = reward
        self.rl = rl
        self.seed = seed
        self._total = total
        self._batches = 0
        self.shown = ""  # a response of the last batch and its score, for people
        self._told: tuple[dict[str, float], float] = ({}, 0.0)

    def roll(self, examples: Sequence[Example]) -> Scored:
        """A group of responses to each example, scored; `told` speaks of them afterwards."""
        rl, number = self.rl, self._batches
        self._batches += 1
        sampling = Sampling(rl.max_response_tokens, temperature=rl.temperature, seed=hashed(self.seed, "roll", number))
        scored = self._scored(examples, rl.group_size, sampling)
        self.reward.observe(scored.scores)
        self._told = self._account(scored)
        if scored.rollouts.texts:
            text = " ".join(scored.rollouts.texts[0].split())
            self.shown = f"score {float(scored.scores.total[0]):.2f}: {text[:200]}{'…' if len(text) > 200 else ''}"
        return scored

    def tune(self, examples: Sequence[Example]) -> tuple[dict[str, float], float]:
        """Sums over one greedy response to each example: `loss` is minus the score; and how many there are."""
        sampling = Sampling(self.rl.max_response_tokens, temperature=0.0)
        sums, count = self._account(self._scored(examples, 1, sampling))
        return {"loss": -sums["reward/total"], **{name.replace("/", "_"): sums[name] for name in sums}}, count

    def told(self) -> tuple[dict[str, float], float]:
        """Of the last batch: sums over responses, and their number."""
        return self._told

    def state_dict(self) -> dict[str, Any]:
        """The reference, how far the random numbers are, and what the reward keeps."""
        return {
            "reference": self.reference.state_dict(),
            "batches": self._batches,
            "reward": self.reward.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.reference.load_state_dict(state["reference"])
        self._batches = int(state["batches"])
        self.reward.load_state_dict(state["reward"])

    def _scored(self, examples: Sequence[Example], num_samples: int, sampling: Sampling) -> Scored:
        ids = [hashed(0, example.id, n) % 2**62 for example in examples for n in range(num_samples)]
        rollouts = self.policy.generate(examples, num_samples, sampling, ids)
        # What reads the responses sees them as sampled: at the temperature of sampling, where there was one
        temperature = sampling.temperature or 1.0
        with torch.no_grad(), self.reference.in_place():
            ref_logprobs = self.policy.logprobs(rollouts.responses, temperature).cpu()
        asked = [examples[p] for p in rollouts.responses.prompt_of.tolist()]
        answers = self._answers(rollouts, ref_logprobs if temperature == 1.0 else None)
        return Scored(rollouts, ref_logprobs, self.reward.score(asked, answers))

    def _answers(self, rollouts: Rollouts, ref_logprobs: Float[Tensor, "N T"] | None) -> list[Answer]:
        """As a reward reads them. Log-probabilities at another temperature aren't the reference's."""
        lengths = rollouts.responses.mask.sum(dim=1).tolist()
        finished = rollouts.finished.tolist()
        found = []
        for n, text in enumerate(rollouts.texts):
            known = None
            if ref_logprobs is not None:
                known = tuple(ref_logprobs[n, : lengths[n] - finished[n]].tolist())  # without the end token
            found.append(Answer(text, finished[n], lengths[n], known))
        return found

    def _account(self, scored: Scored) -> tuple[dict[str, float], float]:
        """Sums over responses. Divergence is that of whole responses to the reference, in nats."""
        responses, scores = scored.rollouts.responses, scored.scores
        mask = responses.mask
        away = log_ratio(scored.rollouts.logprobs, scored.ref_logprobs, mask)
        spread, dead = _groups(scores.total, responses)
        spread_of_all, correlation = spread_and_correlation(scores.total, mask.sum(dim=1), self._total)
        columns: dict[str, Tensor] = {
            "reward/total": scores.total,
            **{f"reward/{name}": values for name, values in scores.parts.items()},
            "reward/std": torch.full_like(scores.total, spread_of_all),
            "reward/std_in_group": spread,
            "reward/length_correlation": torch.full_like(scores.total, correlation),
            "rollout/dead_groups": dead,
            "rollout/tokens": mask.sum(dim=1),
            "rollout/unfinished": ~scored.rollouts.finished,
            "policy/kl": kl_estimate(away, "k3").sum(dim=1),
            "policy/kl_k1": away.sum(dim=1),
        }
        return {name: float(values.double().sum()) for name, values in columns.items()}, float(len(responses))


def spread_and_correlation(
    scores: Float[Tensor, "N"], lengths: Int[Tensor, "N"], total: Total = list
) -> tuple[float, float]:
    """Deviation of the scores, and Pearson's correlation with the lengths, over all processes; 0 where all is equal."""
    x, y = scores.double(), lengths.double()
    sums = total([float(len(x)), *(float(v.sum()) for v in (x, y, x * x, y * y, x * y))])
    count = max(sums[0], 1.0)
    mean_x, mean_y, xx, yy, xy = (value / count for value in sums[1:])
    of_x, of_y = max(xx - mean_x**2, 0.0), max(yy - mean_y**2, 0.0)
    size = math.sqrt(of_x * of_y)
    return math.sqrt(of_x), (xy - mean_x * mean_y) / size if size > 1e-9 else 0.0


def _groups(total: Float[Tensor, "N"], responses: Responses) -> tuple[Float[Tensor, "N"], Bool[Tensor, "N"]]:
    """Of each response's group: the standard deviation of its scores, and whether they are all equal."""
    spread, dead = torch.zeros_like(total), torch.zeros(len(total), dtype=torch.bool)
    for p in range(len(responses.prompt_ids)):
        own = responses.prompt_of == p
        spread[own] = total[own].std(correction=0)
        dead[own] = bool((total[own] == total[own][:1]).all())
    return spread, dead
