"""Settings of single methods; a stage of another method doesn't look at them."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_align.config.sections import Count, CountOrZero, NotNegative, Positive, Section

SAMPLING = ("grpo", "ppo", "rejection")
"""Methods whose batches are `rl.num_prompts` prompts to be sampled and scored, not `training.batch_size` examples."""


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
    """How often each batch of rollouts is gone through; once, whole: the updated policy is the one that sampled."""
    num_minibatches: Count = 1
    """Updates in each pass, on random parts of the batch."""
    max_refills: CountOrZero = 0
    """How often a group whose scores are all equal is replaced by one of another prompt (dynamic sampling, DAPO), and
    dropped. 0: it stays, with advantages of 0."""


class PPOConfig(Section):
    """Proximal policy optimization; rollouts, divergence and clipping of the policy stand in `rl`."""

    num_passes: Count = 4
    """How often each batch of rollouts is gone through."""
    num_minibatches: Count = 1
    """Updates in each pass, on random parts of the batch."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Discount of a token."""
    gae_lambda: Annotated[float, Field(ge=0, le=1)] = 0.95
    """0 trusts the critic, 1 the rewards (Schulman et al. 2016)."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """Of the divergence in the reward."""
    kl_target: Positive | None = None
    """Divergence of a response, nats, towards which `rl.kl_coef` is adapted; null: the coefficient stays."""
    kl_horizon: Positive = 10_000.0
    """Responses in which a coefficient that is a fifth off moves by a fifth."""
    dual_clip: Annotated[float, Field(gt=1)] | None = None
    """Bound of the loss where an advantage is negative, times its size (Ye et al. 2020); null: no bound."""
    critic: Literal["own", "trunk"] = "own"
    """`own`: low-rank matrices and a head beside the frozen base; `trunk`: a head on the policy's own states."""
    critic_rank: Count = 8
    """Of an own critic's matrices."""
    critic_learning_rate: Positive | None = None
    """Of the critic's weights; null: `training.learning_rate`."""
    head_start: Literal["inverse", "inverse_sqrt"] = "inverse"
    """Deviation of the head's first weights: 1 / (h + 1), or 1 / sqrt(h + 1) (the N+ details)."""
    head_bias: Literal["first_scores", "zero"] = "first_scores"
    """What the values are about at first: the mean score of the first batch, or 0. A critic that is far off makes every
    ending look bad where scores are below it (their mean advantage is taken off, and late tokens differ from it most),
    so that responses grow until none ends."""
    value_coef: NotNegative = 0.1
    """Weight of the values' loss."""
    value_clip_eps: Positive | None = 0.2
    """How far a value may move from what it was when sampled before its gradient is cut; null: any way."""
    unfinished_score: float | None = None
    """Score of a response that doesn't end by itself, whatever the reward says (-1 in the N+ details); null: the
    reward's."""
    unfinished_penalty: NotNegative = 0.0
    """Taken off the score of a response that doesn't end by itself (TRL's `missing_eos_penalty`)."""
    normalise_scores: bool = False
    """Scores less their running mean, divided by their running deviation."""
    clip_scores: Positive | None = None
    """Largest size of a score; null: any."""
