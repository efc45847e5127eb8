"""Ragged rows of token ids side by side."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def padded(rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "N T"], Bool[Tensor, "N T"]]:
    """N rows padded on the right to the longest, and the mask of their own entries; ids are 0 where it is False.

    T is 0 where there are no rows, or only empty ones.
    """
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    mask = torch.arange(int(lengths.max()) if rows else 0)[None] < lengths[:, None]
    flat = torch.tensor([i for row in rows for i in row], dtype=torch.long)
    return torch.zeros(mask.shape, dtype=torch.long).masked_scatter_(mask, flat), mask
