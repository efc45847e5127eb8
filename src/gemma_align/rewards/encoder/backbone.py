"""What an encoder stands on. A backbone gives two kinds of features of a response to a prompt, either may be of size 0:

frozen   fixed functions of the row: computed once while fitting, then standardised and read by linear heads
learned  what the backbone's own weights make of the row, trained together with the heads

Weights that belong to somebody else (the policy, a package) are never parameters of a backbone, so they are neither
trained nor saved with it.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemma_align.rewards.encoder.rows import Row
from gemma_align.types import Example


class Backbone(Protocol):
    """Also an `nn.Module`, whose parameters are what is trained and saved."""

    @property
    def fingerprint(self) -> str:
        """Of the weights that it stands on and that aren't saved with it."""
        ...

    @property
    def reads(self) -> str:
        """How prompts are put to it: the policy's prompt format, `plain` or `chat`."""
        ...

    @property
    def frozen_size(self) -> int:
        """F0"""
        ...

    @property
    def learned_size(self) -> int:
        """F1"""
        ...

    @property
    def device(self) -> torch.device:
        """Where features are computed."""
        ...

    def row(self, example: Example, text: str) -> Row:
        """Prompt and response as this backbone's token ids, cut to what it may see."""
        ...

    def frozen(self, rows: Sequence[Row]) -> Float[Tensor, "N F0"]:
        """Without a gradient."""
        ...

    def learned(self, rows: Sequence[Row]) -> Float[Tensor, "N F1"]:
        """Differentiable in the backbone's own weights."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The backbone's own weights."""
        ...


def distinct_root_mean(table: Float[Tensor, "V E"], ids: Sequence[Sequence[int]]) -> Float[Tensor, "N E"]:
    """sum over the n distinct ids of a row / sqrt(n), of the table's entries; 0 for a row without ids.

    Between a sum and a mean: it keeps how much there is of something without growing with length as a sum does.
    Distinct, so that saying a thing again adds nothing. On folds of the HH-RLHF training pairs it told chosen from
    rejected better than the mean (docs/rewards.md).
    """
    distinct = [tuple(dict.fromkeys(row)) for row in ids]
    counts = [len(row) for row in distinct]
    flat = torch.tensor([i for row in distinct for i in row], dtype=torch.long, device=table.device)
    parts = torch.split(table[flat].float(), counts)
    return torch.stack([part.sum(dim=0) / max(1, len(part)) ** 0.5 for part in parts])
