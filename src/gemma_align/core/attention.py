"""Attention over a packed row: no padding, no mask over the whole row, each response sees its prompt and itself.

Registered with transformers under the name `packed`, so that Gemma's own attention module calls it. A call that
carries a `PackedMask` is computed group by group with scaled-dot-product attention; any other call is transformers'
own `sdpa`, so `generate` and every other use of the model work as before.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from gemma_align.core.packing import Group

IMPLEMENTATION = "packed"


class PackedMask:
    """Stands where transformers expects an attention mask, and says how the row is divided."""

    def __init__(self, groups: tuple[Group, ...]) -> None:
        self.groups = groups


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


def _group_attention(
    query: Tensor, key: Tensor, value: Tensor, group: Group, window: int | None, scaling: float
) -> list[Tensor]:
    """Outputs for the group's tokens in row order, each (1, heads, tokens, D). The arguments are the group's alone."""
    lengths = [length for length in group.input_lengths if length]
    if len(lengths) <= 1:  # prompt and response are one plain causal sequence
        return [_attend(query, key, value, 0, window, scaling)]

    # The responses side by side as a batch, padded to the longest of the group; padding comes last, so causality
    # alone keeps every real token from seeing it, and its own outputs are cut off below.
    size, longest = group.prompt_length, max(lengths)

    def parts(t: Tensor) -> tuple[Tensor, Tensor]:
        """The prompt's, and the responses' as a batch. Split in one go: the gradient of each slice would be a tensor of
        the whole row's size."""
        prompt, *responses = t.split([size, *lengths], dim=2)
        return prompt, torch.cat([F.pad(r, (0, 0, 0, longest - r.shape[2])) for r in responses])

    def after_prompt(prompt: Tensor, responses: Tensor) -> Tensor:
        return torch.cat([prompt.expand(len(lengths), -1, -1, -1), responses], dim=2)

    (query, queries), (key, keys), (value, values) = parts(query), parts(key), parts(value)
    answer = _attend(query, key, value, 0, window, scaling)
    out = _attend(queries, after_prompt(key, keys), after_prompt(value, values), size, window, scaling)
    return [answer, *(row[:, :, :length] for row, length in zip(out.split(1), lengths, strict=True))]


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The attention function transformers calls. query: (1, heads, L, D), key and value: (1, kv_heads, L, D).

    Returns (1, L, heads, D).
    """
    if not isinstance(attention_mask, PackedMask):
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    groups = attention_mask.groups
    sizes = [group.end - group.start for group in groups]
    queries, keys, values = (t.split(sizes, dim=2) for t in (query, key, value))
    pieces = [
        piece
        for group, q, k, v in zip(groups, queries, keys, values, strict=True)
        for piece in _group_attention(q, k, v, group, sliding_window, scale)
    ]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


def register() -> None:
    """Makes `packed` known to transformers; harmless to repeat."""
    AttentionInterface.register(IMPLEMENTATION, packed_attention)
    AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
