"""Settings of single methods; a stage of another method doesn't look at them."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_align.config.sections import NotNegative, Positive, Section


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
