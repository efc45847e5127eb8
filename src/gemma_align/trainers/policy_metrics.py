"""What GRPO and PPO tell of the policy in every microbatch, besides their losses.

policy/entropy        of each token's distribution, nats
policy/clip_low       share of tokens whose gradient was cut because the ratio fell too far
policy/clip_high      because it rose too far, or over `ppo.dual_clip`
policy/moved          KL(policy that sampled || policy) of a token, k3, nats
policy/ratio          mean ratio of the probabilities now and when sampled, of sequences where the surrogate takes those
policy/ratio_square   mean of its square; ratio^2 / ratio_square is the share of the tokens that count as independent
policy/ratio_max      the largest
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gemma_align.core.kl import kl_estimate
from gemma_align.core.surrogate import of_ratios
from gemma_align.types import Totals

POLICY_METRICS = (
    "policy/entropy",
    "policy/clip_low",
    "policy/clip_high",
    "policy/moved",
    "policy/ratio",
    "policy/ratio_square",
    "policy/ratio_max",
)


@torch.no_grad()
def policy_metrics(
    of_tokens: Float[Tensor, "N T"],
    ratios: Float[Tensor, "N T"],
    advantages: Float[Tensor, "N T"],
    entropy: Float[Tensor, "N T"],
    mask: Bool[Tensor, "N T"],
    totals: Totals,
    eps_low: float,
    eps_high: float,
    dual_clip: float | None = None,
) -> dict[str, float]:
    """A microbatch's share of the means over the tokens of the minibatch.

    `ratios` are the logarithms that the surrogate took, `of_tokens` those of the tokens themselves; 0 where masked.
    """
    columns = {
        "entropy": entropy,
        "moved": kl_estimate(-of_tokens.detach(), "k3"),  # the sampling policy drew the tokens
        **of_ratios(ratios, advantages, eps_low, eps_high, dual_clip),
    }
    largest = columns.pop("ratio_max").masked_fill(~mask, 0.0)
    told = {
        f"policy/{name}": float(values.masked_fill(~mask, 0.0).sum()) / totals.num_tokens
        for name, values in columns.items()
    }
    return told | {"policy/ratio_max": float(largest.max()) if largest.numel() else 0.0}
