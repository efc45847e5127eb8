"""Backbone `gemma_embeddings`: the policy's frozen token embeddings, and a small transformer of our own on them.

x = E[id] * sqrt(H), as Gemma 3 scales them. The table is the policy's own tensor, looked up, never copied. A policy
that trains it is refused: the reward would move with the policy, and a copy would be of what a stage before had left.

frozen   sum over the response's n distinct tokens of x / sqrt(n)         (H)
learned  attention pooling over the response of the transformer's output  (width)
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gemma_align.data.templates import PromptFormat
from gemma_align.errors import ConfigError
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.backbone import distinct_root_mean
from gemma_align.rewards.encoder.pooling import AttentionPool
from gemma_align.rewards.encoder.rows import Row, alike, cut, pad
from gemma_align.rewards.encoder.transformer import Transformer
from gemma_align.types import Example

TOKENS_PER_PASS = 8192  # padding included


def gemma_row(prompt_format: PromptFormat, example: Example, text: str, max_length: int) -> Row:
    """In the policy's tokens; the BOS stays where the prompt is cut.

    The end token is left out: whether an answer ended is for the constraints to say.
    """
    bos, *prompt = prompt_format.prompt_ids(example)
    row = cut(prompt, prompt_format.response_ids(text)[:-1], max_length - 1)
    return replace(row, prompt_ids=(bos, *row.prompt_ids))


def require_frozen(policy: Policy, backbone: str) -> None:
    """ConfigError where the policy trains the weights that a reward would stand on."""
    if not policy.has_adapter and policy.trainable():
        raise ConfigError(
            f"reward.encoder.backbone={backbone} stands on the base model's frozen weights, but model.lora=null trains "
            "all of them: give model.lora, or an encoder with the backbone minilm"
        )


class GemmaEmbeddings(nn.Module):
    """See the top of this file."""

    def __init__(self, policy: Policy, *, width: int, layers: int, dropout: float, max_length: int) -> None:
        super().__init__()
        require_frozen(policy, "gemma_embeddings")
        shared = policy.causal_lm.get_input_embeddings().weight.detach()
        self._table = (shared,)  # in a tuple: not a buffer, so it is neither saved nor moved
        self._scale = shared.shape[1] ** 0.5
        self.prompt_format = policy.prompt_format
        self.max_length = max_length
        self.fingerprint = policy.info.fingerprint
        self.reads = policy.prompt_format.name
        self.frozen_size = shared.shape[1]
        self.learned_size = width if layers else 0
        if layers:
            self.transformer = Transformer(shared.shape[1], width, layers, dropout)
            self.pool = AttentionPool(width)
            self.to(shared.device)

    @property
    def table(self) -> Float[Tensor, "V H"]:
        """The embeddings, unscaled; the policy's own tensor."""
        return self._table[0]

    @property
    def device(self) -> torch.device:
        """Where the table is."""
        return self.table.device

    def row(self, example: Example, text: str) -> Row:
        """See `gemma_row`."""
        return gemma_row(self.prompt_format, example, text, self.max_length)

    @torch.no_grad()
    def frozen(self, rows: Sequence[Row]) -> Float[Tensor, "N H"]:
        """See the top of this file."""
        return distinct_root_mean(self.table, [row.response_ids for row in rows]) * self._scale

    def learned(self, rows: Sequence[Row]) -> Float[Tensor, "N W"]:
        """See the top of this file. Rows of like length share a pass, so little is padding."""
        out: dict[int, Tensor] = {}
        for group in alike(rows, TOKENS_PER_PASS):
            padded = pad([rows[n] for n in group]).to(self.device)
            x = self.table[padded.ids].float() * self._scale
            h = self.transformer(x, padded.mask, padded.response_mask)
            out.update(zip(group, self.pool(h, padded.response_mask), strict=True))
        return torch.stack([out[n] for n in range(len(rows))])
