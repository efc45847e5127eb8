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
        return limited(examples, [[self.fit(example)] for example in examples], self)

    def __call__(self, examples: Sequence[Example]) -> Responses:
        """The reference responses of N examples, one a prompt."""
        return collate([self.fit(example) for example in examples])


class PairEncoder:
    """Turns P pairs into 2P `Responses`, the chosen and the rejected one of each pair in turns, with one prompt."""

    def __init__(self, encoder: Encoder) -> None:
        """`encoder`: whose prompt format, limits and rules it follows."""
        self._encoder = encoder
        self._known: dict[str, tuple[Fitted, Fitted]] = {}

    def fit(self, example: Example) -> tuple[Fitted, Fitted]:
        """Both responses after one and the same prompt, which is cut as the longer of them asks for.

        Raises DataError for an example that is no pair.
        """
        known = self._known.get(example.id)
        if known is None:
            if example.response is None or example.rejected is None:
                raise DataError(f"example {example.id!r} is no pair: it needs a response and a rejected one")
            speaks, limit = self._encoder.prompt_format, self._encoder.max_length
            responses = [speaks.response_ids(text) for text in (example.response, example.rejected)]
            longest = fit(speaks.prompt_ids(example), max(responses, key=len), limit, example_id=example.id)
            room = limit - len(longest.prompt_ids)
            chosen, rejected = (
                Fitted(longest.prompt_ids, tuple(ids[:room]), longest.prompt_cut, max(0, len(ids) - room))
                for ids in responses
            )
            known = self._known[example.id] = chosen, rejected
        return known

    def within_limit(self, examples: Sequence[Example]) -> tuple[list[Example], Lengths]:
        """See `Encoder.within_limit`; a pair is cut where its prompt or either response is."""
        return limited(examples, [self.fit(example) for example in examples], self._encoder)

    def __call__(self, examples: Sequence[Example]) -> Responses:
        """2P responses to P prompts."""
        fitted = [self.fit(example) for example in examples]
        ids, mask = padded([f.response_ids for pair in fitted for f in pair])
        prompt_of = torch.arange(len(fitted)).repeat_interleave(2)
        return Responses(tuple(chosen.prompt_ids for chosen, _ in fitted), prompt_of, ids, mask)


class Prompts:
    """Prompts that are sampled: what of them fits beside a response of so many tokens."""

    def __init__(self, encoder: Encoder, max_response_tokens: int) -> None:
        """`encoder`: whose prompt format, limits and rules they follow."""
        self._encoder = encoder
        self._room = encoder.max_length - max_response_tokens

    def within_limit(self, examples: Sequence[Example]) -> tuple[list[Example], Lengths]:
        """See `Encoder.within_limit`."""
        prompts = [self._encoder.prompt_format.prompt_ids(example) for example in examples]
        fitted = [
            fit(prompt, (), self._room, example_id=example.id)
            for prompt, example in zip(prompts, examples, strict=True)
        ]
        return limited(examples, [[f] for f in fitted], self._encoder)


def limited(
    examples: Sequence[Example], fitted: Sequence[Sequence[Fitted]], encoder: Encoder
) -> tuple[list[Example], Lengths]:
    """The examples that may be used, of which `fitted` holds all that each says, and what the limit did to them.

    Raises DataError where none is left.
    """
    cut = [any(f.was_cut for f in group) for group in fitted]
    drop = encoder.too_long == "drop"
    kept = [example for example, was_cut in zip(examples, cut, strict=True) if not (drop and was_cut)]
    if examples and not kept:
        raise DataError(
            f"all {len(examples)} examples are longer than model.max_length={encoder.max_length} tokens: "
            "raise it, or give data.too_long=truncate"
        )
    sizes = [len(f.prompt_ids) + len(f.response_ids) + f.prompt_cut + f.response_cut for group in fitted for f in group]
    return kept, Lengths(
        num_examples=len(examples),
        num_truncated=0 if drop else sum(cut),
        num_dropped=sum(cut) if drop else 0,
        longest=max(sizes, default=0),
    )


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
