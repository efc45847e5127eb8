"""Matrix products with frozen weights, on the fastest kernel that gives the same numbers.

On CPU in float32, PyTorch sends `linear` to its BLAS. oneDNN's product, which ships in the same library, is up to
2.4 times as fast on processors with AVX-512 for which that BLAS has no tuned kernels (AMD's: 208 against 500 GFLOP/s
at 1024 rows of an MLP matrix, 2 cores). With AVX2 alone it depends on the shape (AMD, 2 cores, GFLOP/s, BLAS then
oneDNN): at 384 rows 85 and 125 from 640 to a slice of the head, 90 and 116 from 640 to 2048, but 148 and 112 back from
the slice and 122 and 106 back from 2048, where the matrix is read transposed; at 88 rows, on one core, 60 and 43 back
from the slice. With up to 128 rows oneDNN is first for all of a block.

The choice is a rule on processor, types and shapes, never a timing, so that a resumed run uses the kernels of the run
that was killed.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_MANY_ROWS = 256
_WIDE = 8  # times as many numbers in as out: a slice of the head, but no matrix of a block


def has_onednn(x: Tensor) -> bool:
    """Whether this tensor's products can go to oneDNN: float32 on a CPU, and a build that has the operator."""
    return bool(
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.numel() > 0
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


@cache
def has_only_avx2() -> bool:
    """Whether PyTorch's kernels are the ones for AVX2 here, and not those for AVX-512 or another processor."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def prefers_blas(rows: int, weight: Tensor) -> bool:
    """With AVX2 alone: whether the BLAS does `rows` rows times this matrix, (out, in), sooner than oneDNN."""
    num_out, num_in = weight.shape
    back = num_in > num_out and not weight.is_contiguous()
    return back and (rows >= _MANY_ROWS or num_in >= _WIDE * num_out)


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x @ weight.T without a gradient. x: (..., in), weight: (out, in), possibly a transposed view."""
    if not has_onednn(x) or weight.numel() == 0:
        return F.linear(x, weight)
    if not (has_only_avx2() and prefers_blas(x.numel() // x.shape[-1], weight)):
        return torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
    return F.linear(x, weight)


class _FrozenLinear(torch.autograd.Function):
    """x @ weight.T for a weight that takes no gradient, so that backward needs neither x nor a second weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight  # not saved for backward: a constant, and autograd would check its version for nothing
        return product(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return product(grad, ctx.weight.t()), None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same as `torch.nn.functional.linear`. x: (..., in), weight: (out, in), result (..., out)."""
    frozen = not weight.requires_grad and (bias is None or not bias.requires_grad)
    if not (frozen and has_onednn(x) and weight.dtype == x.dtype):
        return F.linear(x, weight, bias)
    y = _FrozenLinear.apply(x, weight) if torch.is_grad_enabled() and x.requires_grad else product(x, weight)
    return y if bias is None else y + bias
