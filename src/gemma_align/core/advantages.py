"""From scores of responses to advantages. Pure; nothing here takes gradients.

group_relative   GRPO: against the other responses to the same prompt (Shao et al. 2024, arXiv 2402.03300, 4.1)
leave_one_out    RLOO: against the mean of the others alone (Ahmadian et al. 2024, arXiv 2402.14740, eq. 5)
overlong         what nearing the length limit costs (Yu et al. 2025, "DAPO", arXiv 2503.14476, eq. 13)
token_rewards    PPO: the score at the last token, less the divergence at each (Ouyang et al. 2022)
gae              PPO: generalized advantage estimation (Schulman et al. 2016, arXiv 1506.02438, eq. 16)
whiten           mean 0 and variance 1 over what counts
explained_variance   how much of the returns the values foresee
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Scale = Literal["group", "none"]
Total = Callable[[list[float]], list[float]]  # sums over all processes; `list` where there is one
STD_EPS = 1e-4  # beside a group's standard deviation, as TRL has it


def overlong(lengths: Int[Tensor, "N"], longest: int, buffer: int) -> Float[Tensor, "N"]:
    """0 up to `longest - buffer` tokens, then evenly down to -1 at `longest`: being cut off doesn't come as a cliff."""
    return -((lengths - (longest - buffer)) / buffer).clamp(0.0, 1.0)


def differ(scores: Float[Tensor, "N"], group: Int[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """Of each response, whether the scores of its group aren't all equal; else the group says nothing."""
    zero = _zeros(scores, group)
    low = torch.full_like(zero, torch.inf).scatter_reduce(0, group, scores, "amin")
    high = torch.full_like(zero, -torch.inf).scatter_reduce(0, group, scores, "amax")
    return (high > low)[group]


def group_relative(scores: Float[Tensor, "N"], group: Int[Tensor, "N"], scale: Scale = "group") -> Float[Tensor, "N"]:
    """Score less the mean of its group, divided by the group's standard deviation where `scale` is "group".

    Without that division the update isn't biased towards prompts that are nearly always or nearly never solved (Liu et
    al. 2025, "Dr. GRPO", arXiv 2503.20783). A group whose scores are all equal gets exactly 0: rounding of their mean,
    divided by nearly nothing, would be an advantage of 1.

    Args:
        scores: of responses.
        group: which prompt each answers, 0 … P - 1; from the row, never from text.
        scale: see above; the deviation has n - 1 in it.
    """
    count, mean = _means(scores, group)
    centred = scores - mean[group]
    if scale == "group":
        squares = torch.zeros_like(mean).index_add(0, group, centred.square())
        centred = centred / ((squares / (count - 1).clamp(min=1)).sqrt() + STD_EPS)[group]
    return torch.where(differ(scores, group), centred, 0.0)


def leave_one_out(scores: Float[Tensor, "N"], group: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Score less the mean of the group's other scores, which is n / (n - 1) times the score less the mean of all n.

    Exactly 0 where all scores of a group are equal, as in a group of one. Arguments as in `group_relative`.
    """
    count, mean = _means(scores, group)
    centred = (scores - mean[group]) * (count / (count - 1).clamp(min=1))[group]
    return torch.where(differ(scores, group), centred, 0.0)


def token_rewards(
    scores: Float[Tensor, "N"], kl: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"], kl_coef: float
) -> Float[Tensor, "N T"]:
    """-kl_coef x kl at every token, and the score at a response's last token; 0 where masked.

    `mask` is a prefix of each row. A response without a token gets nothing.
    """
    rewards = torch.where(mask, -kl_coef * kl, 0.0)
    last = mask & (mask.cumsum(dim=1) == mask.sum(dim=1, keepdim=True))
    return rewards + torch.where(last, scores[:, None], 0.0)


def gae(
    rewards: Float[Tensor, "N T"], values: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"], gamma: float, lam: float
) -> Float[Tensor, "N T"]:
    """A_t = d_t + gamma lam A_{t+1} with d_t = r_t + gamma V_{t+1} - V_t; V and A are 0 after the last token.

    The returns that a value function is fitted to are A + V.

    Args:
        rewards: of each token, 0 where masked.
        values: V_t is of the state before token t; 0 where masked.
        mask: a prefix of each row.
        gamma: discount.
        lam: 0 trusts the values, 1 the rewards.
    """
    counts = mask.to(rewards.dtype)
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0]) if rewards.shape[1] else rewards.new_zeros(len(rewards))
    next_value = following
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = counts[:, t] * (delta + gamma * lam * following)
        next_value = counts[:, t] * values[:, t]
        advantages[:, t] = following
    return advantages


def whiten(
    values: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"], eps: float = 1e-8, total: Total = list
) -> Float[Tensor, "N T"]:
    """(x - mean) / sqrt(variance + eps) over what counts; 0 where masked. One value, or equal ones, become 0.

    The variance has n - 1 in it, as in the N+ details (Huang et al. 2024, arXiv 2403.17031) and TRL.

    `total` adds numbers up over all processes, so that each whitens its part by the statistics of the whole.
    """
    counted = values.masked_fill(~mask, 0.0).double()
    count, summed = total([float(mask.sum()), float(counted.sum())])
    centred = torch.where(mask, counted - summed / max(count, 1.0), 0.0)
    (squares,) = total([float(centred.square().sum())])
    return (centred / math.sqrt(squares / max(count - 1.0, 1.0) + eps)).to(values.dtype)


def explained_variance(
    values: Float[Tensor, "N T"], returns: Float[Tensor, "N T"], mask: Bool[Tensor, "N T"], total: Total = list
) -> float:
    """1 - variance of (returns - values) / variance of the returns, over what counts and all processes.

    1: the values foresee everything; 0: no better than a constant; below: worse. 0 where the returns are all equal.
    """
    missed = (returns - values)[mask].double()
    counted = returns[mask].double()
    count, first, second, third, fourth = total(
        [float(len(counted))]
        + [float(x) for x in (counted.sum(), counted.square().sum(), missed.sum(), missed.square().sum())]
    )
    if count == 0:
        return 0.0
    spread, left = second / count - (first / count) ** 2, fourth / count - (third / count) ** 2
    return 1.0 - left / spread if spread > 1e-12 else 0.0


def _means(scores: Float[Tensor, "N"], group: Int[Tensor, "N"]) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"]]:
    """Responses and mean score of each group."""
    zero = _zeros(scores, group)
    count = zero.index_add(0, group, torch.ones_like(scores))
    return count, zero.index_add(0, group, scores) / count.clamp(min=1)


def _zeros(scores: Float[Tensor, "N"], group: Int[Tensor, "N"]) -> Float[Tensor, "P"]:
    """One of each group."""
    return scores.new_zeros(int(group.max()) + 1 if len(group) else 0)
