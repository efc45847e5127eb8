"""The `pairs` section of a configuration: what `gemma-align pairs make` makes."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_align.config.sections import Count, CountOrZero, Positive, Section


class PairsConfig(Section):
    """Preference pairs for tasks that have none (docs/pairs.md). Read by `gemma-align pairs make` alone."""

    sources: Annotated[tuple[Literal["corruption", "samples"], ...], Field(min_length=1, strict=False)] = (
        "corruption",
        "samples",
    )
    """Where rejected responses come from, in turns: corruptions of the chosen one, and the model's worst samples."""
    chosen: Literal["reference", "best"] = "reference"
    """`best`: the best-scored of reference and finished samples."""
    pairs_per_prompt: Count = 1
    """At most so many; none of a prompt has the same rejected response twice."""
    num_samples: Count = 4
    """Samples of each prompt; none are drawn for `sources: [corruption]` and `chosen: reference`."""
    temperature: Positive = 1.0
    """Of the samples."""
    max_new_tokens: Count | None = None
    """Longest sample; null: the task's own, as in evaluation."""
    split: Literal["train", "tune", "report"] = "train"
    """Whose prompts; pairs of `report` are for held-out accuracy, never for training."""
    num_prompts: Count | None = None
    """At most so many (drawn with the seed); null: all."""
    num_shown: CountOrZero = 3
    """Pairs printed at the end."""
