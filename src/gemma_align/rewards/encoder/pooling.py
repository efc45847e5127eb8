"""From the vectors of a response's tokens to one vector."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """A weighted mean over the tokens where the mask is True; one learned question decides the weights.

    Taken over the response alone, because a marker in front (CLS) would have to learn from a thousand pairs to look at
    the response. It starts as the plain mean.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.question = nn.Linear(width, 1, bias=False)
        nn.init.zeros_(self.question.weight)

    def forward(self, h: Float[Tensor, "N L W"], mask: Bool[Tensor, "N L"]) -> Float[Tensor, "N W"]:
        """0 where no token counts."""
        logits = self.question(h)[..., 0].masked_fill(~mask, torch.finfo(h.dtype).min)
        weights = logits.softmax(dim=1).masked_fill(~mask, 0.0)
        return (weights[..., None] * h).sum(dim=1)
