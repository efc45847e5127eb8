"""PPO's clipped losses of a token, unreduced, which GRPO uses too (Schulman et al. 2017, arXiv 1707.06347)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def clipped_surrogate(
    log_ratios: Float[Tensor, "N T"],
    advantages: Float[Tensor, "N T"],
    eps_low: float,
    eps_high: float,
    dual_clip: float | None = None,
) -> Float[Tensor, "N T"]:
    """-min(r A, clip(r, 1 - eps_low, 1 + eps_high) A) with r = exp(log_ratios); eq. 7.

    A larger `eps_high` leaves room to unlikely tokens (Yu et al. 2025, "DAPO", arXiv 2503.14476, eq. 10). Where A < 0
    the loss grows without bound in r; `dual_clip` c > 1 ends it at -c A (Ye et al. 2020, arXiv 1912.09729, eq. 5).

    Args:
        log_ratios: log p - log p_old of the drawn tokens, from `kl.log_ratio`; gradient flows through it alone.
        advantages: of the tokens; no gradient flows through them.
        eps_low: how far below 1 the ratio may go before its gradient is cut.
        eps_high: how far above.
        dual_clip: see above; None: no bound.
    """
    ratios, advantages = log_ratios.exp(), advantages.detach()
    clipped = ratios.clamp(1 - eps_low, 1 + eps_high)
    losses = -torch.minimum(ratios * advantages, clipped * advantages)
    if dual_clip is None:
        return losses
    return torch.where(advantages < 0, torch.minimum(losses, -dual_clip * advantages), losses)


def clipped(
    log_ratios: Float[Tensor, "N T"],
    advantages: Float[Tensor, "N T"],
    eps_low: float,
    eps_high: float,
    dual_clip: float | None = None,
) -> tuple[Float[Tensor, "N T"], Float[Tensor, "N T"]]:
    """1 where the gradient of `clipped_surrogate` is cut from below, and from above; else 0."""
    ratios = log_ratios.detach().exp()
    low = (ratios < 1 - eps_low) & (advantages < 0)
    high = (ratios > 1 + eps_high) & (advantages > 0)
    if dual_clip is not None:
        high |= (ratios > dual_clip) & (advantages < 0)
    return low.to(log_ratios.dtype), high.to(log_ratios.dtype)


def of_ratios(
    log_ratios: Float[Tensor, "N T"],
    advantages: Float[Tensor, "N T"],
    eps_low: float,
    eps_high: float,
    dual_clip: float | None = None,
) -> dict[str, Float[Tensor, "N T"]]:
    """What is told of the ratios of each token; no gradient.

    clip_low, clip_high   see `clipped`
    ratio, ratio_square   r and r^2: their means give the effective sample size, mean(r)^2 / mean(r^2) of the tokens
    ratio_max             r, of which the largest is told
    """
    away = log_ratios.detach()
    low, high = clipped(away, advantages, eps_low, eps_high, dual_clip)
    ratios = away.exp()
    return {
        "clip_low": low,
        "clip_high": high,
        "ratio": ratios,
        "ratio_square": ratios.square(),
        "ratio_max": ratios,
    }


def clipped_value_loss(
    values: Float[Tensor, "N T"],
    old_values: Float[Tensor, "N T"],
    returns: Float[Tensor, "N T"],
    eps: float | None,
) -> Float[Tensor, "N T"]:
    """max((V - R)^2, (V_old + clip(V - V_old, -eps, eps) - R)^2) / 2; without the second where `eps` is None.

    As in the PPO of Stiennon et al. 2020 (arXiv 2009.01325) and the N+ details of Huang et al. 2024 (arXiv 2403.17031).
    """
    plain = (values - returns).square()
    if eps is None:
        return 0.5 * plain
    held = old_values + (values - old_values).clamp(-eps, eps)
    return 0.5 * torch.maximum(plain, (held - returns).square())


def clipped_values(
    values: Float[Tensor, "N T"], old_values: Float[Tensor, "N T"], returns: Float[Tensor, "N T"], eps: float | None
) -> Bool[Tensor, "N T"]:
    """Where `clipped_value_loss` has no gradient: the value left its range and is nearer the return than its end is."""
    if eps is None:
        return torch.zeros_like(values, dtype=torch.bool)
    away = values - old_values
    held = old_values + away.clamp(-eps, eps)
    return (away.abs() > eps) & ((held - returns).square() > (values - returns).square())
