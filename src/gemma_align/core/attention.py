"""Attention over a packed row: no padding, no mask over the whole row, each response sees its prompt and itself.

Each prompt with its responses is computed by itself with scaled-dot-product attention. In a model's last layer nobody
reads the states of a prompt but its last one, so there the queries are those of the predictors alone.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gemma_align.core.packing import Group, PackedRow


@lru_cache(maxsize=256)
def visible(num_queries: int, num_keys: int, first: int, window: int | None, device: torch.device) -> Tensor:
    """(num_queries, num_keys) True where query i, at position first + i, may look at the key at position j.

    Causal, and where `window` is given at most that many keys back, itself included (Gemma 3's local layers).
    """
    query = first + torch.arange(num_queries, device=device)[:, None]
    key = torch.arange(num_keys, device=device)[None, :]
    allowed = key <= query
    return allowed if window is None else allowed & (key > query - window)


def _attend(query: Tensor, key: Tensor, value: Tensor, first: int, window: int | None, scaling: float) -> Tensor:
    """query: (B, heads, Q, D) at positions first, first + 1, ...; key, value: (B, kv_heads, K, D) from position 0."""
    num_queries, num_keys = query.shape[2], key.shape[2]
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = (
            t.repeat_interleave(repeats, dim=1) if t.shape[1] > 1 else t.expand(-1, repeats, -1, -1)
            for t in (key, value)
        )
    if first == 0 and num_queries == num_keys and (window is None or num_keys <= window):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    mask = visible(num_queries, num_keys, first, window if window and num_keys > window else None, query.device)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def _side_by_side(rows: Sequence[Tensor]) -> Tensor:
    """(1, heads, tokens, D) each -> (rows, heads, most tokens, D). Padding comes last, so causality alone keeps every
    real token from seeing it; its own outputs are cut off afterwards."""
    longest = max(row.shape[2] for row in rows)
    return torch.cat([F.pad(row, (0, 0, 0, longest - row.shape[2])) for row in rows])


def _after_prompt(prompt: Tensor, rows: Tensor) -> Tensor:
    """Keys or values: the prompt's (1, heads, P, D) before each of the rows' (B, heads, T, D)."""
    return torch.cat([prompt.expand(len(rows), -1, -1, -1), rows], dim=2)


def _by_response(t: Tensor, group: Group) -> Tensor:
    """Keys or values (1, heads, tokens, D) of a group -> (responses, heads, P + most tokens, D), prompt before each."""
    if len(group.responses) == 1:
        return t
    prompt, *rows = t.split([group.prompt_length, *group.input_lengths], dim=2)
    return _after_prompt(prompt, _side_by_side(rows))


def _group_attention(
    query: Tensor, key: Tensor, value: Tensor, group: Group, window: int | None, scaling: float
) -> list[Tensor]:
    """Outputs for the group's tokens in row order, each (1, heads, tokens, D). The arguments are the group's alone."""
    size, lengths = group.prompt_length, [length for length in group.input_lengths if length]
    if len(lengths) <= 1:  # prompt and response are one plain causal sequence
        return [_attend(query, key, value, 0, window, scaling)]
    # Split in one go: the gradient of each slice would be a tensor of the whole row's size.
    (query, *queries), (key, *keys), (value, *values) = (t.split([size, *lengths], dim=2) for t in (query, key, value))
    answer = _attend(query, key, value, 0, window, scaling)
    keys, values = _after_prompt(key, _side_by_side(keys)), _after_prompt(value, _side_by_side(values))
    out = _attend(_side_by_side(queries), keys, values, size, window, scaling)
    return [answer, *(row[:, :, :length] for row, length in zip(out.split(1), lengths, strict=True))]


def packed_attention(
    query: Float[Tensor, "1 heads L D"],
    key: Float[Tensor, "1 kv_heads L D"],
    value: Float[Tensor, "1 kv_heads L D"],
    row: PackedRow,
    window: int | None,
    scaling: float,
) -> Float[Tensor, "1 heads L D"]:
    """What each token of the row takes from those before it in its prompt and response, at most `window` back."""
    sizes = [group.end - group.start for group in row.groups]
    queries, keys, values = (t.split(sizes, dim=2) for t in (query, key, value))
    pieces = [
        piece
        for group, q, k, v in zip(row.groups, queries, keys, values, strict=True)
        for piece in _group_attention(q, k, v, group, window, scaling)
    ]
    return torch.cat(pieces, dim=2)


def predictor_attention(
    query: Float[Tensor, "1 heads M D"],
    key: Float[Tensor, "1 kv_heads L D"],
    value: Float[Tensor, "1 kv_heads L D"],
    row: PackedRow,
    window: int | None,
    scaling: float,
) -> Float[Tensor, "1 heads M D"]:
    """`packed_attention` at `row.predictors` alone, whose queries are given; zeros for those that nothing reads."""
    num_of = {  # predictors of each response, which stand together, the responses by number
        n: length + (group.num_common if n == group.responses[0] else 0)
        for group in row.groups
        for n, length in zip(group.responses, group.lengths, strict=True)
    }
    order = sorted(num_of)
    *queries, unread = query.split([*(num_of[n] for n in order), query.shape[2] - sum(num_of.values())], dim=2)
    query_of = dict(zip(order, queries, strict=True))
    sizes = [group.end - group.start for group in row.groups]
    found: dict[int, Tensor] = {}
    for group, k, v in zip(row.groups, key.split(sizes, dim=2), value.split(sizes, dim=2), strict=True):
        if not group.responses:
            continue
        mine = [query_of[n] for n in group.responses]
        common, mine[0] = mine[0].split([group.num_common, group.lengths[0]], dim=2)
        last = group.prompt_length - 1  # predicts the first token that is a response's own
        out = _attend(_side_by_side(mine), _by_response(k, group), _by_response(v, group), last, window, scaling)
        for n, answer, length in zip(group.responses, out.split(1), group.lengths, strict=True):
            found[n] = answer[:, :, :length]
        if group.num_common:
            begun = _attend(common, k, v, last - group.num_common, window, scaling)
            found[group.responses[0]] = torch.cat([begun, found[group.responses[0]]], dim=2)
    return torch.cat([*(found[n] for n in order), torch.zeros_like(unread)], dim=2)
