"""What PPO does to a response's score before it becomes a reward; each step is off unless the configuration asks."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gemma_align.config.methods import PPOConfig
from gemma_align.core.advantages import Total


class ScoreShaping:
    """unfinished -> normalised -> clipped."""

    def __init__(self, settings: PPOConfig, total: Total = list) -> None:
        """`settings`: the configuration's `ppo`; `total` adds numbers up over all processes."""
        self.settings = settings
        self._total = total
        self._sums = [0.0, 0.0, 0.0]  # number, sum, sum of squares of all scores so far

    def __call__(self, scores: Float[Tensor, "N"], finished: Bool[Tensor, "N"]) -> Float[Tensor, "N"]:
        """The scores as PPO takes them; the statistics take in the new ones first."""
        settings = self.settings
        if settings.unfinished_score is not None:
            scores = torch.where(finished, scores, settings.unfinished_score)
        scores = torch.where(finished, scores, scores - settings.unfinished_penalty)
        if settings.normalise_scores:
            mean, deviation = self._take_in(scores)
            scores = (scores - mean) / (deviation + 1e-8)
        if settings.clip_scores is not None:
            scores = scores.clamp(-settings.clip_scores, settings.clip_scores)
        return scores

    def state_dict(self) -> dict[str, Any]:
        """The statistics."""
        return {"sums": list(self._sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self._sums = [float(value) for value in state["sums"]]

    def _take_in(self, scores: Float[Tensor, "N"]) -> tuple[float, float]:
        wide = scores.double()
        new = self._total([float(len(wide)), float(wide.sum()), float(wide.square().sum())])
        self._sums = [before + more for before, more in zip(self._sums, new, strict=True)]
        count, summed, squares = self._sums
        mean = summed / max(count, 1.0)
        return mean, math.sqrt(max(squares / max(count, 1.0) - mean * mean, 0.0))
