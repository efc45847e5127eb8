"""Estimators of KL(policy || reference) from samples of the policy, one a token. Unreduced; 0 where both agree.

With l = log p(token) - log p_ref(token) of a token that the policy drew (Schulman 2020, "Approximating KL divergence"):

    k1 = l                    unbiased; may be negative
    k2 = l^2 / 2              biased, small variance; its gradient is that of the true KL in expectation
    k3 = exp(-l) - 1 + l      unbiased, never negative; its gradient is not that of the true KL

k1 belongs in the reward: as a loss term its expected gradient on the policy's own samples is zero. As a loss term k2
has the right gradient on-policy, and k3 has it with the importance weight of the sampling policy (Tang and Munos 2025,
arXiv 2506.09477).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]
MAX_LOG_RATIO = 20.0  # beyond it exp says nothing but "very far", and overflows soon after


def log_ratio(
    logprobs: Float[Tensor, "N T"], others: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"]
) -> Float[Tensor, "N T"]:
    """logprobs - others, within +-MAX_LOG_RATIO, and 0 where masked, whatever stands there.

    Masked before anything is computed with it: exp of what padding holds would be NaN times 0.
    """
    return torch.where(mask, logprobs - others, 0.0).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def kl_estimate(log_ratios: Float[Tensor, "N T"], estimator: Estimator) -> Float[Tensor, "N T"]:
    """See the module; `log_ratios` are l, from `log_ratio`. Nats."""
    match estimator:
        case "k1":
            return log_ratios
        case "k2":
            return 0.5 * log_ratios.square()
        case "k3":
            return torch.expm1(-log_ratios) + log_ratios


def kl_loss(
    log_ratios: Float[Tensor, "N T"], from_sampler: Float[Tensor, "N T"], estimator: Literal["k2", "k3"]
) -> Float[Tensor, "N T"]:
    """The divergence as a loss term: its expected gradient over the sampling policy's tokens is that of the true KL.

    r k3 with r = exp(from_sampler) in the gradient, for d(r k3) = r l d(log p); r k2 with r held fixed, for r d(k2) is
    that already.

    Args:
        log_ratios: l, to the reference; gradient flows through it.
        from_sampler: log p - log p_old of the token, to the policy that drew it; of tokens, also where a surrogate
            takes ratios of sequences.
        estimator: see the module.
    """
    weight = from_sampler.exp()
    return (weight.detach() if estimator == "k2" else weight) * kl_estimate(log_ratios, estimator)


def adapted(coef: float, measured: float, target: float, num_samples: float, horizon: float) -> float:
    """The coefficient after a batch: it grows where the divergence was over its target (Ziegler et al. 2019, 2.2).

    coef (1 + clip(measured / target - 1, -0.2, 0.2) x min(num_samples / horizon, 1))

    Args:
        coef: before.
        measured: mean divergence of a response from the reference, nats.
        target: what it should be.
        num_samples: responses of the batch.
        horizon: responses in which a coefficient that is a fifth off moves by a fifth.
    """
    error = min(max(measured / target - 1.0, -0.2), 0.2)
    return coef * (1.0 + error * min(num_samples / horizon, 1.0))
