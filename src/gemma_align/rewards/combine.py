"""How the parts of a reward become one score. Pure functions; N answers, K heads of the encoder.

    weighted      alpha x encoder + beta x constraints
    pessimistic   the same, with an encoder that is believed only as far as its heads agree
                  (Coste et al. 2023, arXiv 2310.02743: worst-case and uncertainty-weighted optimization)
    shaped        the same, with sigmoid(encoder - encoder of the reference response) in the encoder's place
                  (Fu et al. 2025, arXiv 2502.18770): bounded, and steepest where the policy starts
    lagrangian    beta is a multiplier that follows the share of violations (`lagrangian.py`)

Departure from the papers: a constraint's floor caps the total afterwards, whatever came out.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Pessimism = Literal["mean", "worst", "variance"]


def weighted(
    encoder: Float[Tensor, "N"], constraints: Float[Tensor, "N"], alpha: float, beta: float
) -> Float[Tensor, "N"]:
    """alpha x encoder + beta x constraints; constraints are 0 or less."""
    return alpha * encoder + beta * constraints


def pessimistic(heads: Float[Tensor, "N K"], how: Pessimism, coef: float) -> Float[Tensor, "N"]:
    """One score of the heads' K.

    mean      their mean
    worst     the lowest
    variance  their mean - coef x their variance (of the K heads, divided by K)
    """
    match how:
        case "mean":
            return heads.mean(dim=1)
        case "worst":
            return heads.amin(dim=1)
        case "variance":
            return heads.mean(dim=1) - coef * heads.var(dim=1, correction=0)


def shaped(encoder: Float[Tensor, "N"], reference: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """sigmoid(encoder - reference), in (0, 1): 1/2 where an answer is as good as the reference response."""
    return torch.sigmoid(encoder - reference)


def capped(total: Float[Tensor, "N"], caps: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """At most the cap; infinite where no floor applies."""
    return torch.minimum(total, caps)
