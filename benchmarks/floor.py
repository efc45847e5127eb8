"""The least time a workload's arithmetic can take: useful operations over the measured rate of matrix products.

    floor = (tokens through the blocks x (weights + attention) x passes) / rate at the MLP's shapes
          + (response tokens x head x passes) / rate at the head's shapes

A pass is forward, or backward to the activations (frozen weights need no gradient; the adapters' own few operations
are left out). A prompt counts once however many responses share it, and so do tokens that all of them begin with;
padding doesn't count, and the last token of a response predicts nothing and doesn't go through the blocks. Attention
counts the keys a token may see.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a Gemma 3's arithmetic."""

    hidden: int
    mlp: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    windows: tuple[int | None, ...]  # one a layer; None where it sees everything

    @property
    def block_flops(self) -> int:
        """Products with the blocks' weights for one token, one pass."""
        width = self.heads * self.head_dim
        weights = self.hidden * (2 * width + 2 * self.kv_heads * self.head_dim) + 3 * self.hidden * self.mlp
        return 2 * weights * len(self.windows)

    @property
    def head_flops(self) -> int:
        """The logits of one token, one pass."""
        return 2 * self.hidden * self.vocab

    def attention_flops(self, positions: Iterable[int]) -> int:
        """Scores and weighted values of tokens at these positions (from 0), one pass."""
        per_key = 4 * self.heads * self.head_dim
        keys = 0
        for position in positions:
            keys += sum(min(position + 1, window or position + 1) for window in self.windows)
        return per_key * keys


def shape_of(config: Mapping[str, Any]) -> Shape:
    """From a checkpoint's config.json."""
    return Shape(
        hidden=config["hidden_size"],
        mlp=config["intermediate_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_dim=config["head_dim"],
        vocab=config["vocab_size"],
        windows=tuple(
            config["sliding_window"] if kind == "sliding_attention" else None for kind in config["layer_types"]
        ),
    )


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and the lengths of its responses, in tokens, of which all share the first `common`."""

    prompt: int
    responses: tuple[int, ...]
    common: int = 0

    @property
    def positions(self) -> list[int]:
        """Of every token that goes through the blocks."""
        found = list(range(self.prompt + self.common))
        for length in self.responses:
            found += range(self.prompt + self.common, self.prompt + max(length - 1, 0))
        return found

    @property
    def num_predicted(self) -> int:
        """Response tokens, those that all share counted once."""
        return sum(self.responses) - self.common * (len(self.responses) - 1)


@dataclass(frozen=True, slots=True)
class Work:
    """Useful operations of one pass."""

    block_tokens: int
    head_tokens: int
    block_flops: int  # attention included
    head_flops: int


def work(shape: Shape, groups: Sequence[Group]) -> Work:
    """One pass over all groups."""
    positions = [p for group in groups for p in group.positions]
    responses = sum(group.num_predicted for group in groups)
    return Work(
        block_tokens=len(positions),
        head_tokens=responses,
        block_flops=len(positions) * shape.block_flops + shape.attention_flops(positions),
        head_flops=responses * shape.head_flops,
    )


def floor_seconds(amount: Work, passes: int, block_rate: float, head_rate: float) -> float:
    """Rates in operations a second."""
    return passes * (amount.block_flops / block_rate + amount.head_flops / head_rate)


def sampling_floor_seconds(
    shape: Shape, groups: Sequence[Group], prefill_rate: float, decode_rate: float, head_rate: float
) -> float:
    """Sampling: prompts at the rate of many rows, then token after token at the rate of as many rows as samples."""
    prompts = [p for group in groups for p in range(group.prompt)]
    later = [p for group in groups for p in group.positions[group.prompt :]]
    responses = sum(sum(group.responses) for group in groups)

    def flops(positions: list[int]) -> int:
        return len(positions) * shape.block_flops + shape.attention_flops(positions)

    return flops(prompts) / prefill_rate + flops(later) / decode_rate + responses * shape.head_flops / head_rate
