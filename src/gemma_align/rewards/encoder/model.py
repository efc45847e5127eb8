"""The encoder as a reward: a backbone, an ensemble of scalar heads, and the scale on which scores are told.

    raw_k = u_k . (frozen - m) / s + v_k . learned + c_k          k = 1 … K heads
    score_k = (raw_k - mean_k) / std                               the total is the mean over the heads

m and s are the mean and standard deviation of the frozen features over the training rows. mean_k, and std of the
heads' mean, are taken over the responses of the dev pairs, so that a score of 1 means "one standard deviation above
a usual response" for every encoder, and a weight alpha means the same. `slope` turns a difference of totals into a
probability: P(a better than b) = s(slope * (a - b)), fitted on the dev pairs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemma_align.errors import RewardError
from gemma_align.rewards.encoder.backbone import Backbone
from gemma_align.rewards.encoder.rows import Row
from gemma_align.rewards.fold import plain
from gemma_align.types import Answer, Example, Scores

ROWS_PER_PASS = 64


class RewardEncoder(nn.Module):
    """Fulfils `RewardModel`. Made by `build.build_encoder`, filled by `fitting` or by `files.load_encoder`."""

    feature_mean: Tensor
    feature_std: Tensor
    head_mean: Tensor
    score_std: Tensor
    slope: Tensor

    def __init__(self, backbone: Backbone, num_heads: int, feature_dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_heads = num_heads
        self.dropout = nn.Dropout(feature_dropout)
        self.on_frozen = nn.Linear(backbone.frozen_size, num_heads, bias=False) if backbone.frozen_size else None
        self.on_learned = nn.Linear(backbone.learned_size, num_heads, bias=False) if backbone.learned_size else None
        self.bias = nn.Parameter(torch.zeros(num_heads))
        for head in (self.on_frozen, self.on_learned):
            if head is not None:  # small and different: heads start near indifference, each in its own direction
                nn.init.normal_(head.weight, std=0.1 * head.in_features**-0.5)
        self.register_buffer("feature_mean", torch.zeros(backbone.frozen_size))
        self.register_buffer("feature_std", torch.ones(backbone.frozen_size))
        self.register_buffer("head_mean", torch.zeros(num_heads))
        self.register_buffer("score_std", torch.ones(()))
        self.register_buffer("slope", torch.ones(()))
        self._known: dict[Row, Tensor] | None = None
        self.to(backbone.device)

    def row(self, example: Example, text: str) -> Row:
        """Prompt and response as the backbone reads them; the response without disguises (`fold.plain`)."""
        return self.backbone.row(example, plain(text))

    def forward(self, rows: Sequence[Row]) -> Float[Tensor, "N K"]:
        """Raw scores of every head, differentiable in what is trained; dropout in training mode."""
        total = self.bias.expand(len(rows), -1)
        if self.on_frozen is not None:
            features = (self._frozen(rows) - self.feature_mean) / self.feature_std
            total = total + self.on_frozen(self.dropout(features))
        if self.on_learned is not None:
            total = total + self.on_learned(self.dropout(self.backbone.learned(rows)))
        return total

    @torch.no_grad()
    def head_scores(self, rows: Sequence[Row]) -> Float[Tensor, "N K"]:
        """Standardised scores of every head, on the CPU. Equal rows are computed once."""
        was_training = self.training
        self.eval()
        distinct = sorted(set(rows), key=lambda row: (len(row), row.prompt_ids, row.response_ids))
        found: dict[Row, Tensor] = {}
        for start in range(0, len(distinct), ROWS_PER_PASS):
            part = distinct[start : start + ROWS_PER_PASS]
            scores = (self(part) - self.head_mean) / self.score_std
            found.update(zip(part, scores.float().cpu(), strict=True))
        self.train(was_training)
        return torch.stack([found[row] for row in rows]) if rows else torch.zeros(0, self.num_heads)

    def heads(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Float[Tensor, "N K"]:
        """Standardised scores of every head; `examples[i]` is what `answers[i]` answers."""
        return self.head_scores([self.row(e, answer.text) for e, answer in zip(examples, answers, strict=True)])

    def score(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Scores:
        """Total: the heads' mean. Parts: `encoder`, the same, and `encoder_spread`, their standard deviation.

        Raises RewardError, with the example's id, for a score that isn't finite.
        """
        heads = self.heads(examples, answers)
        for example, finite in zip(examples, heads.isfinite().all(dim=1).tolist(), strict=True):
            if not finite:
                raise RewardError(
                    f"the encoder's score of the answer to example {example.id!r} is not finite: fit the encoder again"
                )
        total = heads.mean(dim=1)
        spread = torch.square(heads - total[:, None]).mean(dim=1).sqrt()
        return Scores(total, {"encoder": total, "encoder_spread": spread})

    @contextmanager
    def remembering(self, known: "dict[Row, Tensor] | None" = None) -> Iterator[None]:
        """Within it frozen features of a row are computed once; for fitting, where rows come again every epoch.

        `known` is filled and may be handed on to another encoder on the same backbone; None: a memory of its own.
        """
        self._known = {} if known is None else known
        try:
            yield
        finally:
            self._known = None

    def _frozen(self, rows: Sequence[Row]) -> Float[Tensor, "N F0"]:
        if self._known is None:
            return self.backbone.frozen(rows)
        new = [row for row in dict.fromkeys(rows) if row not in self._known]
        if new:
            self._known.update(zip(new, self.backbone.frozen(new), strict=True))
        return torch.stack([self._known[row] for row in rows])

    @torch.no_grad()
    def standardise_features(self, rows: Sequence[Row]) -> None:
        """Sets m and s from the training rows; a feature that never changes is left as it is."""
        if self.on_frozen is None:
            return
        features = self._frozen(rows).double()
        std = features.std(dim=0, correction=0)
        self.feature_mean.copy_(features.mean(dim=0))
        self.feature_std.copy_(torch.where(std > 1e-6, std, 1.0))

    @torch.no_grad()
    def standardise_scores(self, rows: Sequence[Row]) -> None:
        """Sets mean_k and std from the dev pairs' responses."""
        self.head_mean.zero_()
        self.score_std.fill_(1.0)
        heads = self.head_scores(rows).double()
        std = float(heads.mean(dim=1).std(correction=0))
        self.head_mean.copy_(heads.mean(dim=0))
        self.score_std.fill_(std if std > 1e-6 else 1.0)
