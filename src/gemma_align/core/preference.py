"""Losses on pairs of scores: the chosen response's and the rejected one's. All unreduced.

Pairs run along the first axis, the heads of an ensemble along the second; every head has its own loss.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def bradley_terry_loss(
    chosen: Float[Tensor, "N K"],
    rejected: Float[Tensor, "N K"],
    margin: Float[Tensor, "N"],
    label_smoothing: float,
) -> Float[Tensor, "N K"]:
    """-(1 - e) log s(d) - e log s(-d) with d = chosen - rejected - margin and s the logistic function, in nats.

    Bradley and Terry 1952 as in Ouyang et al. 2022 (arXiv 2203.02155), eq. 1; the margin as in Touvron et al. 2023
    (Llama 2, arXiv 2307.09288), eq. 2; e is the share of labels taken to be wrong, as in Mitchell 2023 ("A note on
    DPO with noisy preferences", eq. 3).
    """
    difference = chosen - rejected - margin[:, None]
    return -(1 - label_smoothing) * F.logsigmoid(difference) - label_smoothing * F.logsigmoid(-difference)


def centring_penalty(chosen: Float[Tensor, "N K"], rejected: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """(chosen + rejected)^2: the loss above knows differences only, this holds the mean score at 0.

    Eisenstein et al. 2023 (arXiv 2312.09244), section 3.
    """
    return torch.square(chosen + rejected)


def dpo_loss(
    chosen: Float[Tensor, "N"], rejected: Float[Tensor, "N"], beta: float, label_smoothing: float = 0.0
) -> Float[Tensor, "N"]:
    """-(1 - e) log s(h) - e log s(-h) with h = beta (chosen - rejected), in nats.

    Rafailov et al. 2023 (arXiv 2305.18290), eq. 7; e as in Mitchell 2023 ("A note on DPO with noisy preferences",
    eq. 3).

    Args:
        chosen: log p(chosen | prompt) - log p_ref(chosen | prompt), nats.
        rejected: the same of the rejected response.
        beta: how much a nat of distance from the reference counts.
        label_smoothing: share of pairs taken to be the wrong way round, below 1/2.
    """
    h = beta * (chosen - rejected)
    return -(1 - label_smoothing) * F.logsigmoid(h) - label_smoothing * F.logsigmoid(-h)


def ipo_loss(chosen: Float[Tensor, "N"], rejected: Float[Tensor, "N"], beta: float) -> Float[Tensor, "N"]:
    """(chosen - rejected - 1 / (2 beta))^2: the lead is wanted to be 1 / (2 beta), and no larger.

    Azar et al. 2023 (arXiv 2310.12036), eq. 17; arguments as in `dpo_loss`. Their log-ratios are of whole responses;
    with `dpo.length_normalised` they are per token here, as TRL has them.
    """
    return torch.square(chosen - rejected - 1 / (2 * beta))
