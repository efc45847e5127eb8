"""Prompt and response as token ids that fit into an encoder, and how rows are put side by side.

The rule for what is too long: the response keeps up to three quarters of `max_length`, and more where the prompt
leaves it free. A longer response loses its middle, so that its start and its end both count. The prompt gets the rest
and keeps its end, which is what the response answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gemma_align.core.padding import padded


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt and one response to it; equal rows score the same. The counts say how many tokens were left out."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    prompt_cut: int = 0
    response_cut: int = 0

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.response_ids)

    @property
    def was_cut(self) -> bool:
        """Something was left out."""
        return bool(self.prompt_cut or self.response_cut)


def cut(prompt_ids: Sequence[int], response_ids: Sequence[int], max_length: int) -> Row:
    """The row by the rule above, of at most `max_length` tokens."""
    room = max(max_length - len(prompt_ids), 3 * max_length // 4)
    response = ends(response_ids, room)
    left = max_length - len(response)
    prompt = tuple(prompt_ids[max(0, len(prompt_ids) - left) :])
    return Row(prompt, response, len(prompt_ids) - len(prompt), len(response_ids) - len(response))


def ends(ids: Sequence[int], at_most: int) -> tuple[int, ...]:
    """The start and the end, half of the room each, of what is longer than `at_most`."""
    if len(ids) <= at_most:
        return tuple(ids)
    head = -(-at_most // 2)
    tail = at_most - head
    return (*ids[:head], *ids[len(ids) - tail :])


@dataclass(frozen=True, slots=True)
class Padded:
    """N rows of at most L tokens, padded on the right."""

    ids: Int[Tensor, "N L"]  # 0 where masked
    mask: Bool[Tensor, "N L"]
    response_mask: Bool[Tensor, "N L"]  # the response's tokens; part of `mask`

    def to(self, device: torch.device) -> "Padded":
        """The same on another device."""
        return Padded(self.ids.to(device), self.mask.to(device), self.response_mask.to(device))


def pad(rows: Sequence[Row]) -> Padded:
    """Rows side by side: the prompt's tokens, then the response's."""
    ids, mask = padded([(*row.prompt_ids, *row.response_ids) for row in rows])
    starts = torch.tensor([len(row.prompt_ids) for row in rows])
    return Padded(ids, mask, mask & (torch.arange(mask.shape[1])[None] >= starts[:, None]))


def alike(rows: Sequence[Row], max_tokens: int) -> Iterator[list[int]]:
    """Places of rows of similar length, in groups of at most `max_tokens` tokens, padding included.

    At most a quarter of a group's width is padding. A row that is longer than `max_tokens` gets a group for itself.
    """
    group: list[int] = []
    width = 0
    for n in sorted(range(len(rows)), key=lambda n: (-len(rows[n]), n)):
        if group and ((len(group) + 1) * width > max_tokens or len(rows[n]) < 3 * width // 4):
            yield group
            group = []
        if not group:
            width = len(rows[n])
        group.append(n)
    if group:
        yield group
