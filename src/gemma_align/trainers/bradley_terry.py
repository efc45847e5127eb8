"""Fitting a reward encoder to preference pairs (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155, eq. 1).

    loss = mean over pairs and heads of w_nk [ -log s(chosen - rejected - margin) + centring (chosen + rejected)^2 ]

Departures: each head may weigh the pairs by draws w_nk of its own from Exp(1), which depend on the pair's id alone
(the Bayesian bootstrap, Rubin 1981), so that heads that share a backbone still disagree where pairs are few.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gemma_align.config import EncoderConfig
from gemma_align.core.padding import padded
from gemma_align.core.preference import bradley_terry_loss, centring_penalty
from gemma_align.data.splits import hashed
from gemma_align.errors import DataError
from gemma_align.rewards.encoder.model import RewardEncoder
from gemma_align.rewards.encoder.rows import Row
from gemma_align.types import Batch, Example, Responses, Totals


@dataclass(frozen=True, slots=True)
class PairBatch(Batch):
    """N pairs. Row n of `responses` holds all tokens of pair n, so that budgets and counts are those of both rows:
    prompt, chosen, prompt, rejected. The prompt may be cut differently in the two."""

    lengths: Int[Tensor, "N 4"]  # of these parts
    margin: Float[Tensor, "N"]
    weights: Float[Tensor, "N K"]

    def select(self, rows: Int[Tensor, "n"]) -> Self:
        """The given pairs with everything that belongs to them."""
        return type(self)(self.responses.select(rows), self.lengths[rows], self.margin[rows], self.weights[rows])

    def rows(self) -> tuple[list[Row], list[Row]]:
        """The chosen rows and the rejected ones, as the encoder takes them."""
        chosen, rejected = [], []
        for ids, lengths in zip(self.responses.ids.tolist(), self.lengths.tolist(), strict=True):
            parts, start = [], 0
            for length in lengths:
                parts.append(tuple(ids[start : start + length]))
                start += length
            chosen.append(Row(parts[0], parts[1]))
            rejected.append(Row(parts[2], parts[3]))
        return chosen, rejected


class BradleyTerry:
    """The two verbs of fitting an encoder."""

    metrics = ("loss/preference", "loss/centring", "reward/accuracy", "reward/difference")
    num_passes = 1
    num_minibatches = 1
    own = None

    def __init__(self, encoder: RewardEncoder, config: EncoderConfig, *, seed: int) -> None:
        """`seed`: of the heads' weights of the pairs."""
        self.encoder = encoder
        self.config = config
        self.seed = seed
        self._rows: dict[str, tuple[Row, Row]] = {}

    def pair(self, example: Example) -> tuple[Row, Row]:
        """The chosen row and the rejected one; tokenized once. DataError for an example that isn't a pair."""
        known = self._rows.get(example.id)
        if known is None:
            if example.response is None or example.rejected is None:
                raise DataError(f"example {example.id!r} is no pair: it needs a response and a rejected one")
            known = self.encoder.row(example, example.response), self.encoder.row(example, example.rejected)
            self._rows[example.id] = known
        return known

    def prepare(self, examples: Sequence[Example]) -> PairBatch:
        """Tokens, margins and the heads' weights of the pairs."""
        parts = [
            (chosen.prompt_ids, chosen.response_ids, rejected.prompt_ids, rejected.response_ids)
            for chosen, rejected in map(self.pair, examples)
        ]
        lengths = torch.tensor([[len(part) for part in four] for four in parts], dtype=torch.long).view(-1, 4)
        ids, mask = padded([[i for part in four for i in part] for four in parts])
        return PairBatch(
            Responses(((),) * len(parts), torch.arange(len(parts)), ids, mask),
            lengths=lengths,
            margin=torch.tensor([self.config.margin * _margin(example) for example in examples]),
            weights=torch.tensor([self._weights(example.id) for example in examples]).view(-1, self.encoder.num_heads),
        )

    def loss(self, batch: Batch, totals: Totals) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Mean over pairs and heads, in nats; accuracy and difference are the mean head's."""
        assert isinstance(batch, PairBatch)
        self.encoder.train()
        chosen_rows, rejected_rows = batch.rows()
        scores = self.encoder([*chosen_rows, *rejected_rows])
        chosen, rejected = scores.chunk(2)
        device = scores.device
        weights, margin = batch.weights.to(device), batch.margin.to(device)
        size = totals.num_sequences * self.encoder.num_heads
        fit = (weights * bradley_terry_loss(chosen, rejected, margin, self.config.label_smoothing)).sum() / size
        centred = (weights * centring_penalty(chosen, rejected)).sum() / size
        difference = (chosen - rejected).detach().mean(dim=1)
        return fit + self.config.centring * centred, {
            "loss/preference": fit.item(),
            "loss/centring": centred.item(),
            "reward/accuracy": float((difference > 0).sum()) / totals.num_sequences,
            "reward/difference": float(difference.sum()) / totals.num_sequences,
        }

    def told(self) -> tuple[dict[str, float], float]:
        """Nothing beside the loss."""
        return {}, 1.0

    def state_dict(self) -> dict[str, Any]:
        """Nothing runs along."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing runs along."""

    def _weights(self, pair_id: str) -> list[float]:
        """One draw from Exp(1) a head, or ones."""
        heads = range(self.encoder.num_heads)
        if not self.config.resample or len(heads) == 1:
            return [1.0 for _ in heads]
        return [-math.log((hashed(self.seed, "pair weight", k, pair_id) + 1) / 2**64) for k in heads]


def _margin(example: Example) -> float:
    given = example.checks.get("margin", 1.0)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise DataError(f"example {example.id!r}: checks.margin: wanted a number from 0 up, given {given!r}")
    return float(given)
