"""Prompts and responses as one padding-free row of tokens, in which a prompt is computed once for all its responses.

    [prompt 0][response 0][response 1] ... [prompt 1][response 5] ...

Positions restart after the prompt for each of its responses, and attention (`core/attention.py`) lets a response see
its prompt and itself only, so every token's hidden state is the one it would have in a row of its own. The last
token of a response predicts nothing and is not in the row at all. SFT is the case of one response a prompt.

Tokens that all responses to a prompt begin with are computed once too, as if they belonged to the prompt: a pair of a
note and the same note with one thing made false is alike up to that thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gemma_align.types import Responses


@dataclass(frozen=True)
class Group:
    """Where one prompt and the inputs of its responses lie in the row. Responses without a token are not in it."""

    start: int
    prompt_length: int  # with the tokens that all responses begin with
    responses: tuple[int, ...]  # which ones they are
    lengths: tuple[int, ...]  # tokens of each after the common ones; the last one of them is not in the row
    num_common: int = 0  # tokens that all responses begin with

    @property
    def input_lengths(self) -> tuple[int, ...]:
        """Tokens of each response that lie in the row."""
        return tuple(length - 1 for length in self.lengths)

    @property
    def end(self) -> int:
        """One past the group's last token in the row."""
        return self.start + self.prompt_length + sum(self.input_lengths)


@dataclass(frozen=True)
class PackedRow:
    """One row of L tokens, and where the log-probabilities of its responses' K tokens, M different ones, come from and
    go to."""

    ids: Int[Tensor, "L"]
    positions: Int[Tensor, "L"]
    groups: tuple[Group, ...]
    predictors: Int[Tensor, "M"]  # index in the row of the token whose hidden state predicts response token m
    targets: Int[Tensor, "M"]  # response token m; the last ones may be filling that nothing reads, as in `predictors`
    sources: Int[Tensor, "K"]  # which m each of the mask's entries is, row by row
    mask: Bool[Tensor, "N T"]

    def scatter(self, values: Float[Tensor, "M"]) -> Float[Tensor, "N T"]:
        """Per-token values back to (N, T), 0 where the mask is False."""
        found = torch.zeros(self.mask.shape, dtype=values.dtype, device=values.device)
        return found.masked_scatter(self.mask, values.index_select(0, self.sources))


def pack(responses: Responses, device: torch.device, multiple: int = 1) -> PackedRow:
    """Lays the responses out group by group; responses to one prompt need not stand together in the input.

    L and M are filled up to a multiple of `multiple`, with a prompt of zeros that nothing answers and with predictions
    that nothing reads: kernels and memory blocks are kept for each size they meet, so there should be few sizes.
    """
    tokens = _tokens(responses)
    lengths = list(map(len, tokens))
    ids: list[int] = []
    positions: list[int] = []
    groups: list[Group] = []
    place_of: dict[int, tuple[Group, int]] = {}  # of a response: its group, and where its own inputs begin
    for prompt, rows in zip(responses.prompt_ids, _members(responses), strict=True):
        if not rows:
            continue
        answers = tuple(n for n in rows if lengths[n])
        common = common_beginning([tokens[n] for n in answers])
        start, size = len(ids), len(prompt) + len(common)
        own_lengths = tuple(lengths[n] - len(common) for n in answers)
        group = Group(start, size, answers, own_lengths, len(common))
        groups.append(group)
        ids += [*prompt, *common]
        positions += range(size)
        for n in answers:
            place_of[n] = group, len(ids)
            inputs = tokens[n][len(common) : -1]
            ids += inputs
            positions += range(size, size + len(inputs))
    if filling := -len(ids) % multiple:
        groups.append(Group(len(ids), filling, (), ()))
        ids += [0] * filling
        positions += range(filling)

    predictors: list[int] = []
    targets: list[int] = []
    sources: list[int] = []
    common_at: dict[int, int] = {}  # where the predictors of a group's common tokens stand, by the group's start
    for n in sorted(place_of):
        group, first = place_of[n]
        k = group.num_common
        last = group.start + group.prompt_length - 1  # predicts the first token that is a response's own
        if n == group.responses[0]:
            common_at[group.start] = len(predictors)
            predictors += range(last - k, last)
            targets += tokens[n][:k]
        sources += range(common_at[group.start], common_at[group.start] + k)
        sources += range(len(predictors), len(predictors) + lengths[n] - k)
        predictors += [last, *range(first, first + lengths[n] - k - 1)]
        targets += tokens[n][k:]
    unread = [0] * (-len(predictors) % multiple)

    def on_device(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return PackedRow(
        ids=on_device(ids),
        positions=on_device(positions),
        groups=tuple(groups),
        predictors=on_device(predictors + unread),
        targets=on_device(targets + unread),
        sources=on_device(sources),
        mask=responses.mask.to(device),
    )


def common_beginning(rows: Sequence[list[int]]) -> list[int]:
    """Tokens that several responses all begin with; the last one of each stays its own, since it isn't in the row."""
    if len(rows) < 2:
        return []
    first, last = min(rows), max(rows)  # whatever lies between these in order begins as both do
    shortest = min(map(len, rows)) - 1
    differing = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: min(next(differing, shortest), shortest)]


def microbatch_rows(responses: Responses, max_tokens: int, *, whole_prompts: bool = False) -> list[Int[Tensor, "_"]]:
    """Splits N responses into microbatches of at most `max_tokens` row tokens: the peak of memory the user sets.

    Prompts stay whole with all their responses while they fit; a prompt whose responses don't fit together is given
    several rows and computed once in each. Groups are taken longest first and put where they fit (first-fit
    decreasing), which fills the microbatches almost completely. The result is a function of the responses alone.

    Args:
        responses: N responses.
        max_tokens: upper bound of tokens a microbatch; a single response that is longer gets one for itself.
        whole_prompts: a prompt's responses are never parted, and get a microbatch for themselves if they are longer.

    Returns:
        Row indices into `responses`, one tensor a microbatch, ascending within each.
    """
    tokens = _tokens(responses)
    pieces: list[tuple[int, list[int]]] = []  # (tokens, rows)
    for prompt, rows in zip(responses.prompt_ids, _members(responses), strict=True):
        piece = list[int]()
        for n in rows:
            if piece and not whole_prompts and _row_tokens(prompt, [tokens[m] for m in (*piece, n)]) > max_tokens:
                pieces.append((_row_tokens(prompt, [tokens[m] for m in piece]), piece))
                piece = []
            piece.append(n)
        if piece:
            pieces.append((_row_tokens(prompt, [tokens[m] for m in piece]), piece))

    bins: list[tuple[int, list[int]]] = []
    for size, rows in sorted(pieces, key=lambda piece: (-piece[0], piece[1][0])):
        for i, (filled, held) in enumerate(bins):
            if filled + size <= max_tokens:
                bins[i] = (filled + size, held + rows)
                break
        else:
            bins.append((size, list(rows)))
    return [torch.tensor(sorted(rows), dtype=torch.long) for _, rows in bins]


def _row_tokens(prompt: Sequence[int], answers: Sequence[list[int]]) -> int:
    """Tokens that `pack` lays out for a prompt and its responses."""
    common = len(common_beginning([answer for answer in answers if answer]))
    return len(prompt) + common + sum(len(answer) - common - 1 for answer in answers if answer)


def _tokens(responses: Responses) -> list[list[int]]:
    """Of each response."""
    lengths = responses.mask.sum(dim=1).tolist()
    return [row[:length] for row, length in zip(responses.ids.tolist(), lengths, strict=True)]


def _members(responses: Responses) -> list[list[int]]:
    """Which responses each prompt has."""
    members: list[list[int]] = [[] for _ in responses.prompt_ids]
    for n, p in enumerate(responses.prompt_of.tolist()):
        members[p].append(n)
    return members


def join(
    parts: Sequence[tuple[Int[Tensor, "_"], Float[Tensor, "_ _"]]], num_rows: int, width: int
) -> Float[Tensor, "N T"]:
    """Per-token values of microbatches back in the order and width of the whole."""
    dtype = parts[0][1].dtype if parts else torch.float32
    device = parts[0][1].device if parts else torch.device("cpu")
    whole = torch.zeros(num_rows, width, dtype=dtype, device=device)
    for rows, values in parts:
        whole[rows.to(device), : values.shape[1]] = values
    return whole
