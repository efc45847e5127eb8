"""Leaner twins of Gemma's leaf modules: the same numbers, fewer saved activations, faster products.

transformers defines the model; here only the class of its linear, norm and MLP modules is exchanged in place, so
parameters, state dicts, PEFT and `generate` stay as they were. With frozen base weights the twins keep what their
gradients need and nothing else:

    linear   nothing (the gradient needs the weight only)
    RMSNorm  its input and one number a token     (transformers' formula keeps four tensors of the input's size)
    MLP      gate and up                          (transformers keeps gelu(gate) too)

A module whose weights are trained falls back to transformers' own formula.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3MLP, Gemma3RMSNorm

from gemma_align.core.matmul import linear


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


_TWINS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: LeanLinear,
    Gemma3RMSNorm: LeanRMSNorm,
    Gemma3MLP: LeanMLP,
}


def make_lean(model: nn.Module) -> None:
    """Exchanges the modules' classes in place; modules of other classes, PEFT's among them, are left alone."""
    for module in model.modules():
        twin = _TWINS.get(type(module))
        if twin is not None:
            module.__class__ = twin
