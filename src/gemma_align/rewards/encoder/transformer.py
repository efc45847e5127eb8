"""A few pre-norm transformer layers with attention in both directions, over padded rows.

Rotary positions (Su et al. 2021, arXiv 2104.09864), pre-norm as in Xiong et al. 2020 (arXiv 2002.04745), no biases in
attention. Padding is masked as a key, so it changes no token that counts.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

HEAD_DIM = 32


def rotate(x: Float[Tensor, "N A L D"], base: float = 10_000.0) -> Float[Tensor, "N A L D"]:
    """Coordinates i and i + D/2 of the vector at position p turned by p / base^(2i / D), eq. 34 of the paper."""
    length, dim = x.shape[-2:]
    speed = base ** (-torch.arange(0, dim, 2, device=x.device, dtype=torch.float32) / dim)
    angle = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * speed  # (L, D / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Layer(nn.Module):
    """h + attention(norm(h)), then h + mlp(norm(h)); dropout on both branches."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = width // HEAD_DIM
        self.norm_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Float[Tensor, "N L W"], mask: Bool[Tensor, "N L"]) -> Float[Tensor, "N L W"]:
        """`mask` is True at tokens."""
        n, length, width = h.shape
        heads = self.queries_keys_values(self.norm_attention(h)).view(n, length, 3, self.num_heads, HEAD_DIM)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(rotate(query), rotate(key), value, attn_mask=mask[:, None, None])
        h = h + self.dropout(self.out(attended.transpose(1, 2).reshape(n, length, width)))
        return h + self.dropout(self.down(F.gelu(self.up(self.norm_mlp(h)))))


class Transformer(nn.Module):
    """From token vectors of size `size_in` to vectors of size `width` that have seen the whole row."""

    def __init__(self, size_in: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(size_in, width)
        self.segments = nn.Embedding(2, width)  # prompt, response
        self.layers = nn.ModuleList(Layer(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.segments.weight, std=0.5)

    def forward(
        self, x: Float[Tensor, "N L E"], mask: Bool[Tensor, "N L"], response_mask: Bool[Tensor, "N L"]
    ) -> Float[Tensor, "N L W"]:
        """One vector a token; those of padding mean nothing."""
        h = self.dropout(self.project(x)) + self.segments(response_mask.long())
        for layer in self.layers:
            h = layer(h, mask)
        return self.norm(h)
