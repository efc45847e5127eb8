"""Best-of-n as a model that is evaluated: of n samples to each prompt the one that a reward scores highest.

Nothing is trained for it, so it is what a method that follows the same reward has to beat. It costs n responses where
other models need one, which is counted. At temperature 1 it is at most ln n - (n - 1) / n nats away from the policy
that it samples (`core/best_of_n.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gemma_align.data.splits import hashed
from gemma_align.evaluation.evaluate import EvaluatedPolicy, Timer
from gemma_align.types import Answer, Example, RewardModel, Rollouts, Sampling

BATCH = 256  # answers scored at a time


class BestOf:
    """Draws the responses of an evaluation (`evaluate(draw=...)`), and counts what that takes."""

    def __init__(self, reward: RewardModel, n: int, temperature: float, *, reward_name: str) -> None:
        """What chooses among how many.

        Args:
            reward: its total decides; of equal ones the first is taken.
            n: samples of each prompt.
            temperature: of sampling.
            reward_name: tells one reward from another, in what is stored.
        """
        self.reward = reward
        self.n = n
        self.temperature = temperature
        self.decoding: Mapping[str, Any] = {"temperature": temperature, "best_of": n, "reward": reward_name}
        self._tokens = 0
        self._calls = 0

    @property
    def spent(self) -> dict[str, int]:
        """What it took so far: samples, their tokens, and answers that the reward scored."""
        return {"samples": self._calls, "tokens": self._tokens, "reward_calls": self._calls}

    def __call__(
        self, policy: EvaluatedPolicy, examples: Sequence[Example], sampling: Sampling, timer: Timer
    ) -> Rollouts:
        """One response to each example. A sample's random numbers are those of the seed, its example and its number."""
        own = Sampling(sampling.max_tokens, temperature=self.temperature, seed=hashed(sampling.seed, "best of n"))
        ids = [hashed(0, example.id, i) % 2**62 for example in examples for i in range(self.n)]
        with timer("generate"):
            rollouts = policy.generate(examples, self.n, own, ids)
        lengths = rollouts.responses.mask.sum(dim=1)
        with timer("reward"):
            total = self._scores(rollouts, lengths.tolist())
        self._tokens += int(lengths.sum())
        self._calls += len(rollouts.texts)
        best = torch.arange(len(examples)) * self.n + total.view(-1, self.n).argmax(dim=1)
        responses = rollouts.responses.select(best)
        return Rollouts(
            responses=responses,
            logprobs=rollouts.logprobs[best, : responses.ids.shape[1]],
            examples=rollouts.examples,
            texts=tuple(rollouts.texts[row] for row in best.tolist()),
            finished=rollouts.finished[best],
        )

    def _scores(self, rollouts: Rollouts, lengths: Sequence[int]) -> torch.Tensor:
        asked = [rollouts.examples[p] for p in rollouts.responses.prompt_of.tolist()]
        answers = [Answer(*row) for row in zip(rollouts.texts, rollouts.finished.tolist(), lengths, strict=True)]
        parts = [slice(start, start + BATCH) for start in range(0, len(answers), BATCH)]
        return torch.cat([self.reward.score(asked[part], answers[part]).total for part in parts])
