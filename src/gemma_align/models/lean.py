"""Leaner twins of Gemma's modules: the same numbers, fewer saved activations, faster products, packed rows.

transformers defines the model; here only the class of its modules is exchanged in place, so parameters, state dicts,
PEFT and `generate` stay as they were. With frozen base weights the twins keep what their gradients need and nothing
else:

    linear   nothing (the gradient needs the weight only)
    RMSNorm  its input and one number a token     (transformers' formula keeps four tensors of the input's size)
    MLP      gate and up                          (transformers keeps gelu(gate) too)
    rotary   the angles                           (transformers makes five tensors of the input's size)

Attention and decoder layers take a `PackedRow` where transformers has a mask. The last layer then computes keys and
values for every token and all else for the predictors alone, which are all that is read of it: states of L tokens come
in, those of M predictors go out.

A module whose weights are trained falls back to transformers' own formula, and a call with another mask to its own
attention.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.gemma3.modeling_gemma3 import (
    Gemma3Attention,
    Gemma3DecoderLayer,
    Gemma3MLP,
    Gemma3RMSNorm,
)

from gemma_align.core.attention import packed_attention, predictor_attention
from gemma_align.core.matmul import linear
from gemma_align.core.packing import PackedRow


class LeanLinear(nn.Linear):
    """`nn.Linear` over `core.matmul.linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in) -> (..., out)."""
        return linear(x, self.weight, self.bias)


class _RMSNorm(torch.autograd.Function):
    """y = x / rms(x) * (1 + weight) and its gradient in x, in float32 as Gemma does (1 + w before the cast)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        # In place where it can be: on a CPU a temporary of this size costs more in page faults than in arithmetic
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse_rms = torch.rsqrt(length.square_().div_(x.shape[-1]).add_(eps))
        scale = 1.0 + weight.to(wide.dtype)
        ctx.save_for_backward(x, inverse_rms, scale)
        return (wide * inverse_rms).mul_(scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, inverse_rms, scale = ctx.saved_tensors
        unit = x.to(inverse_rms.dtype) * inverse_rms
        g = grad.to(inverse_rms.dtype) * scale
        along = (g * unit).mean(-1, keepdim=True)
        return g.addcmul_(unit, along, value=-1).mul_(inverse_rms).to(grad.dtype), None, None


class LeanRMSNorm(Gemma3RMSNorm):
    """Gemma's RMSNorm with a hand-written gradient."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., dim) -> (..., dim)."""
        if self.weight.requires_grad:
            return super().forward(x)
        return _RMSNorm.apply(x, self.weight, self.eps)


class _GatedGelu(torch.autograd.Function):
    """gelu(gate) * up, gelu in its tanh form; the activation is made again in backward instead of kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.gelu(gate, approximate="tanh").mul_(up)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate = torch.ops.aten.gelu_backward(grad * up, gate, approximate="tanh")
        return grad_gate, F.gelu(gate, approximate="tanh").mul_(grad)


class LeanMLP(Gemma3MLP):
    """Gemma's gated MLP over `_GatedGelu`."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., H) -> (..., H)."""
        if self.config.hidden_activation != "gelu_pytorch_tanh":
            return super().forward(x)
        return self.down_proj(_GatedGelu.apply(self.gate_proj(x), self.up_proj(x)))


class _Rotation(torch.autograd.Function):
    """x rotated by its token's position: x cos + (-x2, x1) sin, with x1 and x2 the halves of x (Su et al. 2021)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, sign=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grad, cos, sin, sign=-1), None, None  # the inverse of a rotation is its transpose


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    """x: (..., D); cos, sin: (..., D), the angles of the first half once more in the second."""
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return out


class LeanAttention(Gemma3Attention):
    """Gemma's attention, along a packed row where it is given one."""

    @property
    def is_last(self) -> bool:
        """Whether it belongs to the model's last layer, whose states no other layer reads."""
        return bool(self.layer_idx == self.config.num_hidden_layers - 1)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: Any = None,
        attention_mask: Any = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """hidden_states (1, L, H) -> (1, L, H), or (1, M, H) in the last layer; no attention weights are made."""
        if not isinstance(attention_mask, PackedRow):
            return super().forward(hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs)
        row, attend = attention_mask, packed_attention
        seen, asking = (hidden_states, *position_embeddings), (hidden_states, *position_embeddings)
        if self.is_last:
            attend = predictor_attention
            asking = tuple(t.index_select(1, row.predictors) for t in seen)
        query = self._rotated_heads(self.q_proj, self.q_norm, *asking)
        key = self._rotated_heads(self.k_proj, self.k_norm, *seen)
        value = self._heads(self.v_proj(hidden_states))
        out = attend(query, key, value, row, self.sliding_window, self.scaling)
        return self.o_proj(out.transpose(1, 2).flatten(2)), None

    def _heads(self, t: Tensor) -> Tensor:
        """(1, L, heads x D) -> (1, heads, L, D)."""
        return t.view(*t.shape[:2], -1, self.head_dim).transpose(1, 2)

    def _rotated_heads(self, projection: nn.Module, norm: nn.Module, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Queries or keys (1, heads, L, D) of x (1, L, H)."""
        rotated: Tensor = _Rotation.apply(norm(self._heads(projection(x))), cos[:, None], sin[:, None])
        return rotated


class LeanDecoderLayer(Gemma3DecoderLayer):
    """Gemma's layer; the last one gives the states of a packed row's predictors alone."""

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> Any:
        """hidden_states (1, L, H) -> (1, L, H), or (1, M, H) from the last layer."""
        if not isinstance(attention_mask, PackedRow):
            usual = (hidden_states, position_embeddings, attention_mask, position_ids, past_key_values)
            return super().forward(*usual, **kwargs)
        attended, _ = self.self_attn(self.input_layernorm(hidden_states), position_embeddings, attention_mask)
        if self.self_attn.is_last:
            hidden_states = hidden_states.index_select(1, attention_mask.predictors)
        hidden_states = hidden_states + self.post_attention_layernorm(attended)
        return hidden_states + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(hidden_states)))


_TWINS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: LeanLinear,
    Gemma3RMSNorm: LeanRMSNorm,
    Gemma3MLP: LeanMLP,
    Gemma3Attention: LeanAttention,
    Gemma3DecoderLayer: LeanDecoderLayer,
}


def make_lean(model: nn.Module) -> None:
    """Exchanges the modules' classes in place; modules of other classes, PEFT's among them, are left alone."""
    for module in model.modules():
        twin = _TWINS.get(type(module))
        if twin is not None:
            module.__class__ = twin
