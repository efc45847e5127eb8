"""Settings of single methods; a stage of another method doesn't look at them."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_align.config.sections import Count, NotNegative, Positive, Section


class DPOConfig(Section):
    """Direct preference optimization: pairs of a chosen and a rejected response."""

    beta: Positive = 0.1
    """How much a nat of distance from the reference counts: larger keeps the policy nearer."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """`sigmoid`: Rafailov et al. 2023; `ipo`: a squared loss that wants a lead of 1 / (2 beta) and no more."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of pairs taken to be the wrong way round; with `sigmoid`."""
    length_normalised: bool = False
    """Log-probabilities per token instead of per response, so that long responses don't lead by length."""
    sft_weight: NotNegative = 0.0
    """Weight of an SFT loss beside it: of the chosen response, nats a token, the mean over pairs."""


class GRPOConfig(Section):
    """Group relative policy optimization; rollouts, divergence and clipping stand in `rl`."""

    baseline: Literal["group", "leave_one_out"] = "group"
    """What a score is held against: the mean of its group, or the mean of the group's other responses (RLOO)."""
    scale: Literal["group", "none"] = "group"
    """Divide by the group's standard deviation, or don't (Dr. GRPO); with the baseline `group`."""
    loss: Literal["token", "response", "constant"] = "token"
    """What the losses of tokens are divided by: all tokens, each response's own (the paper), or the longest possible
    response (Dr. GRPO)."""
    ratio: Literal["token", "sequence"] = "token"
    """Probability ratios of tokens, or one of each response, the geometric mean (GSPO)."""
    clip_eps_high: Annotated[float, Field(gt=0)] | None = None
    """How far the ratio may rise before its gradient is cut; null: `rl.clip_eps`."""
    kl_estimator: Literal["k2", "k3"] = "k3"
    """Of the divergence in the loss; k3 with the ratio as its weight. k1 has no gradient there."""
    num_passes: Count = 1
    """Updates on each batch of rollouts; with one, the policy that is updated is the one that sampled."""
