"""Sums and means over the entries that count."""

from jaxtyping import Bool, Float
from torch import Tensor


def masked_sum(values: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Sum over True entries. Masked entries don't count even where they are not finite."""
    return values.masked_fill(~mask, 0.0).sum()
