"""From examples to tensors of token ids: the reference responses of a batch, each cut to what the model may see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gemma_align.core.padding import padded
from gemma_align.data.templates import Fitted, PromptFormat, fit
from gemma_align.errors import DataError
from gemma_align.types import Example, Responses


@dataclass(frozen=True, slots=True)
class Lengths:
    """What the length limit did to a set of examples; stored in the run folder and printed."""

    num_examples: int
    num_truncated: int
    num_dropped: int
    longest: int  # tokens of prompt and response, before anything was cut

    def describe(self) -> str:
        """One line for people."""
        cut = [f"{self.num_truncated:,} truncated"] * (self.num_truncated > 0)
        cut += [f"{self.num_dropped:,} dropped as too long"] * (self.num_dropped > 0)
        return ", ".join([f"{self.num_examples:,} examples, the longest of {self.longest:,} tokens", *cut])


class Encoder:
    """Turns examples into `Responses`; remembers each example's tokens, so several epochs tokenize once."""

    def __init__(
        self, prompt_format: PromptFormat, max_length: int, too_long: Literal["truncate", "drop"] = "truncate"
    ) -> None:
        self.prompt_format = prompt_format
        self.max_length = max_length
        self.too_long = too_long
        self._known: dict[str, Fitted] = {}

    def fit(self, example: Example) -> Fitted:
        """The example's prompt and reference response as ids that fit into `max_length` (see `templates.fit`).

        Raises DataError for an example that has no response.
        """
        known = self._known.get(example.id)
        if known is None:
            if example.response is None:
                raise DataError(f"example {example.id!r} has no response to train on or to score: give it one")
            prompt, response = self.prompt_format.prompt_ids(example), self.prompt_format.response_ids(example.response)
            known = self._known[example.id] = fit(prompt, response, self.max_length, example_id=example.id)
        return known

    def within_limit(self, examples: Sequence[Example]) -> tuple[list[Example], Lengths]:
        """The examples that may be used, and what the limit did to them.

        Raises DataError where none is left.
        """
        fitted = [self.fit(example) for example in examples]
        cut = [f.was_cut for f in fitted]
        drop = self.too_long == "drop"
        kept = [example for example, was_cut in zip(examples, cut, strict=True) if not (drop and was_cut)]
        if examples and not kept:
            raise DataError(
                f"all {len(examples)} examples are longer than model.max_length={self.max_length} tokens: "
                "raise it, or give data.too_long=truncate"
            )
        longest = max(
            (len(f.prompt_ids) + len(f.response_ids) + f.prompt_cut + f.response_cut for f in fitted), default=0
        )
        return kept, Lengths(
            num_examples=len(examples),
            num_truncated=0 if drop else sum(cut),
            num_dropped=sum(cut) if drop else 0,
            longest=longest,
        )

    def __call__(self, examples: Sequence[Example]) -> Responses:
        """The reference responses of N examples, one a prompt."""
        return collate([self.fit(example) for example in examples])


def sharing_prompts(rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Responses:
    """N responses, given as (prompt ids, response ids); equal prompts share an entry, so that they are read once."""
    prompts = list(dict.fromkeys(tuple(prompt) for prompt, _ in rows))
    index = {prompt: p for p, prompt in enumerate(prompts)}
    ids, mask = padded([tuple(response) for _, response in rows])
    return Responses(tuple(prompts), torch.tensor([index[tuple(prompt)] for prompt, _ in rows]), ids, mask)


def collate(fitted: Sequence[Fitted]) -> Responses:
    """N prompts with one response each, padded on the right with 0 where the mask is False."""
    ids, mask = padded([f.response_ids for f in fitted])
    return Responses(tuple(f.prompt_ids for f in fitted), torch.arange(len(fitted)), ids, mask)
