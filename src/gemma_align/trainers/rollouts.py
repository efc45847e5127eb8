"""Rollouts with what is known of them: sampled responses, the reference's log-probabilities, scores.

Every sample has random numbers of its own, which depend on the seed, the batch's number, its group and its place in
the group: the same responses come whatever process draws them and in whatever company.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemma_align.config import RLConfig
from gemma_align.core.advantages import Total, differ, overlong
from gemma_align.core.kl import kl_estimate, log_ratio
from gemma_align.data.splits import hashed
from gemma_align.models.reference import Reference
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.trainers.spares import Spares
from gemma_align.types import Answer, Example, Policy, Responses, Rollouts, Sampling, Scores

# What says nothing of greedy responses, one to a prompt: groups, and divergences, whose estimators are of samples
OF_SAMPLES = ("rollout/dead_groups", "reward/std_in_group", "policy/kl", "policy/kl_k1")


@dataclass(frozen=True, slots=True)
class Scored:
    """Rollouts of N responses and what they are worth."""

    rollouts: Rollouts
    ref_logprobs: Float[Tensor, "N T"]
    scores: Scores

    @property
    def dead(self) -> Bool[Tensor, "N"]:
        """Of each response: whether all scores of its group are equal."""
        return _groups(self.scores.total, self.rollouts.responses)[1]


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

    def roll(self, examples: Sequence[Example], spares: Spares | None = None) -> Scored:
        """A group of responses to each example, scored; `told` speaks of them afterwards.

        With `spares`, a group whose scores are all equal is followed by one of another prompt, that one too by another,
        as often as it may be. All of them are given back, and told of.
        """
        rl, number = self.rl, self._batches
        self._batches += 1
        sampling = Sampling(rl.max_response_tokens, temperature=rl.temperature, seed=hashed(self.seed, "roll", number))
        names = [example.id for example in examples]
        parts = [self._scored(examples, names, rl.group_size, sampling)]
        for _ in range(spares.max_refills if spares is not None else 0):
            dead = parts[-1].dead.view(-1, rl.group_size).any(dim=1).tolist()
            names = [f"instead of {name}" for name, empty in zip(names, dead, strict=True) if empty]
            if not names:
                break
            assert spares is not None
            others = [spares.instead_of(name, number) for name in names]
            parts.append(self._scored(others, names, rl.group_size, sampling))
        scored = _joined(parts)
        self.reward.observe(scored.scores)
        sums, count = self._account(scored)
        tokens, refills = self._total(
            [sums["rollout/tokens"], float(sum(len(part.rollouts.examples) for part in parts[1:]))]
        )
        # Of the whole batch and not of a response: what is told is divided by the number of responses
        self._told = sums | {"rollout/all_tokens": tokens * count, "rollout/refills": refills * count}, count
        if scored.rollouts.texts:
            text = " ".join(scored.rollouts.texts[0].split())
            self.shown = f"score {float(scored.scores.total[0]):.2f}: {text[:200]}{'…' if len(text) > 200 else ''}"
        return scored

    def tune(self, examples: Sequence[Example]) -> tuple[dict[str, float], float]:
        """Sums over one greedy response to each example: `loss` is minus the score; and how many there are.

        Scored with the beta of the configuration, so that evaluations can be held against each other where another
        one is trained with by now.
        """
        sampling = Sampling(self.rl.max_response_tokens, temperature=0.0)
        names = [example.id for example in examples]
        sums, count = self._account(self._scored(examples, names, 1, sampling, self.reward.settings.beta))
        told = {name.replace("/", "_"): value for name, value in sums.items() if name not in OF_SAMPLES}
        return {"loss": -sums["reward/total"], **told}, count

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

    def _scored(
        self,
        examples: Sequence[Example],
        names: Sequence[str],
        num_samples: int,
        sampling: Sampling,
        beta: float | None = None,
    ) -> Scored:
        """`names` name the groups in the random numbers; `beta` is the reward's, where not that of now."""
        ids = [hashed(0, name, n) % 2**62 for name in names for n in range(num_samples)]
        rollouts = self.policy.generate(examples, num_samples, sampling, ids)
        # What reads the responses sees them as sampled: at the temperature of sampling, where there was one
        temperature = sampling.temperature or 1.0
        with torch.no_grad(), self.reference.in_place():
            ref_logprobs = self.policy.logprobs(rollouts.responses, temperature).cpu()
        asked = [examples[p] for p in rollouts.responses.prompt_of.tolist()]
        answers = self._answers(rollouts, ref_logprobs if temperature == 1.0 else None)
        scores = self.reward.score(asked, answers, beta)
        if self.rl.overlong_buffer:
            lengths = rollouts.responses.mask.sum(dim=1)
            cost = overlong(lengths, sampling.max_tokens, self.rl.overlong_buffer)
            scores = Scores(scores.total + cost, {**scores.parts, "overlong": cost})
        return Scored(rollouts, ref_logprobs, scores)

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


def _joined(parts: Sequence[Scored]) -> Scored:
    """All groups, one part after the other."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.ref_logprobs.shape[1] for part in parts)

    def wide(rows: Sequence[Tensor]) -> Tensor:
        return torch.cat([F.pad(row, (0, width - row.shape[1])) for row in rows])

    rollouts = [part.rollouts for part in parts]
    responses = [each.responses for each in rollouts]
    first = [sum(len(each.prompt_ids) for each in responses[:i]) for i in range(len(responses))]
    return Scored(
        Rollouts(
            responses=Responses(
                prompt_ids=tuple(ids for each in responses for ids in each.prompt_ids),
                prompt_of=torch.cat([each.prompt_of + start for each, start in zip(responses, first, strict=True)]),
                ids=wide([each.ids for each in responses]),
                mask=wide([each.mask for each in responses]),
            ),
            logprobs=wide([each.logprobs for each in rollouts]),
            examples=tuple(example for each in rollouts for example in each.examples),
            texts=tuple(text for each in rollouts for text in each.texts),
            finished=torch.cat([each.finished for each in rollouts]),
        ),
        ref_logprobs=wide([part.ref_logprobs for part in parts]),
        scores=Scores(
            torch.cat([part.scores.total for part in parts]),
            {name: torch.cat([part.scores.parts[name] for part in parts]) for name in parts[0].scores.parts},
        ),
    )


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
    spread = torch.zeros_like(total)
    for p in range(len(responses.prompt_ids)):
        own = responses.prompt_of == p
        spread[own] = total[own].std(correction=0)
    return spread, ~differ(total, responses.prompt_of)
