"""The settings of the reward's learned encoder and of its fitting."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_align.config.sections import Count, CountOrZero, Fraction, NotNegative, Place, Positive, Section

AUTO = "auto"


class EncoderConfig(Section):
    """The learned encoder: what it is, and how `gemma-align reward fit` fits it to preference pairs."""

    path: Place | None = None
    """The folder of a fitted one, which `gemma-align reward fit` writes; `auto`: a run fits one to the pairs of its
    training data, or to pairs made of it, and keeps it beside the run folder; null: there is none yet."""
    backbone: Literal["gemma_embeddings", "minilm", "gemma"] = "gemma_embeddings"
    """What it stands on: the policy's token embeddings with a small transformer, a sentence encoder (extra
    `embeddings`), or the policy's whole base model."""
    train_backbone: bool = False
    """`minilm`: train all of its weights; `gemma`: train low-rank matrices on it; else only the heads are. The
    transformer on `gemma_embeddings` is always trained, the embeddings never."""
    layers: CountOrZero = 2
    """Of the transformer on the embeddings; 0: linear heads on pooled embeddings alone."""
    width: Annotated[int, Field(ge=32, multiple_of=32)] = 64
    """Of that transformer."""
    lora_rank: Count = 8
    """Of the matrices on `gemma` where `train_backbone` is true."""
    heads: Count = 4
    """Scalar heads: an ensemble whose mean is the score and whose spread tells where they disagree."""
    resample: bool = True
    """Every head weighs the pairs by draws of its own (the Bayesian bootstrap, Rubin 1981)."""
    feature_dropout: Fraction = 0.5
    """Share of the features that the heads read zeroed while fitting: what a Gaussian prior does to linear heads."""
    dropout: Fraction = 0.1
    """The same inside the transformer on the embeddings."""
    max_length: Annotated[int, Field(ge=8)] = 256
    """Tokens of prompt and response that are read; the rule for longer ones stands in docs/rewards.md."""
    part: Literal["all", "proxy", "gold"] = "all"
    """Which of the training pairs it is fitted to, parted by first turn: all; or those of the reward that is trained
    on (`proxy`) and those of the measure that it is held against (`gold`), which have no conversation in common."""
    gold_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Of the first turns, whose pairs are the gold part."""
    epochs: Count = 8
    """Passes over the pairs, at most."""
    patience: Count = 3
    """Epochs without a lower loss on the dev pairs after which the fit ends; the best epoch's weights are kept."""
    dev_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of the first turns, whose pairs are cut from training to stop early, to standardise and to calibrate."""
    learning_rate: Positive = 1e-3
    """At its peak; it falls to 0 as a cosine."""
    weight_decay: NotNegative = 0.1
    """Decoupled."""
    batch_size: Count = 32
    """Pairs an update."""
    max_tokens_per_microbatch: Count = 8192
    """Of both rows of its pairs: sets the peak memory, changes no gradient."""
    margin: NotNegative = 0.0
    """By how much the chosen score should lead, nats; times the example's `checks.margin` where it has one."""
    centring: NotNegative = 0.01
    """Weight of (chosen + rejected)^2, which holds the mean score at 0."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of labels taken to be the wrong way round."""
