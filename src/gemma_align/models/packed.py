"""Weights laid out for products with few rows, as sampling has them.

A product of 16 rows with a matrix reads the matrix once and does little with it, so its layout decides: oneDNN's own
blocked layout reaches 2 to 3 times the rate of the plain one. Which kernel is used is a rule on types and shapes,
never a timing. Where oneDNN can't be had (CUDA, bf16, other builds) the same classes hold plain matrices.

What is left out: gradients, biases. The layout is opaque, so a packed matrix can only be multiplied with.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gemma_align.core.matmul import has_onednn, product
from gemma_align.core.sampling import BLOCK
from gemma_align.errors import UserError
from gemma_align.models.paging import page_out

FEW_ROWS = 16  # what the layout is chosen for; the same one serves hundreds of rows
CHUNK = 14 * BLOCK  # head rows a product on the CPU: logits of 64 rows stay under 2 MiB, in the cache and in the heap
COPY_BYTES = 384 * 2**20  # of the head that are held a second time; what is over is multiplied as it is


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN can lay this matrix out: float32 on a CPU, and a build that has the operators."""
    return has_onednn(weight) and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


class PackedLinear:
    """x @ weight.T for a weight that stays as it is."""

    def __init__(self, weight: Tensor) -> None:
        """weight: (out, in). Packed it is a copy; where it can't be packed it is held as it is."""
        weight = weight.detach()
        self.packed = can_pack(weight)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), FEW_ROWS) if self.packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        """x: (rows, in) -> (rows, out)."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return F.linear(x, self.weight)


def _split(weight: Tensor) -> list[Tensor]:
    return list(weight.detach().split(CHUNK)) if weight.device.type == "cpu" else [weight.detach()]


class Head:
    """Logits of a few rows over the whole vocabulary, chunk by chunk; exact.

    A packed part is a second copy and takes half the time at 16 rows, so memory decides how much of the head is packed.
    """

    def __init__(self, weight: Tensor, copy_bytes: int) -> None:
        """weight: (V, H), shared with the model but for the first `copy_bytes`, which are packed where they can be."""
        num_packed = copy_bytes // weight[:CHUNK].nbytes if can_pack(weight) else 0
        parts = _split(weight)
        self._parts = [PackedLinear(part) if i < num_packed else part for i, part in enumerate(parts)]
        page_out(parts[:num_packed])

    def __call__(self, hidden: Tensor, temperature: float = 1.0) -> list[Tensor]:
        """hidden (R, H) -> logits / temperature, float32, as chunks (R, <= CHUNK)."""
        if hidden.dtype == torch.float32:  # 640 divisions a row instead of 262,144
            hidden, temperature = hidden / temperature, 1.0
        chunks = [part(hidden) if isinstance(part, PackedLinear) else product(hidden, part) for part in self._parts]
        return [chunk.float() if temperature == 1.0 else chunk.float() / temperature for chunk in chunks]


class Int8Head:
    """Logits from a head rounded to 8 bits a weight (one scale a word) and 7 bits a hidden value (one scale a row).

    Samples come from a slightly other distribution than the model's; log-probabilities are of that distribution, so
    `core.sampling.truncated_importance_weights` can correct. A row's logits depend on that row alone. Hidden values
    take 7 bits because processors without VNNI add pairs of products in 16 bits, which 8 bits would overflow.
    """

    def __init__(self, weight: Tensor) -> None:
        """weight: (V, H) float32 on a CPU; held as int8, a quarter of its size."""
        if not (has_onednn(weight) and hasattr(torch.ops.onednn, "qlinear_pointwise")):
            raise UserError(
                f"the int8 head needs float32 weights on a CPU and a PyTorch build with oneDNN; given {weight.dtype} "
                f"on {weight.device}: leave the int8 head off there"
            )
        self._parts = [self._quantised(part) for part in _split(weight)]

    @staticmethod
    def _quantised(weight: Tensor) -> tuple[Any, Tensor, Tensor]:
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        quantised = torch.round(weight / scale[:, None]).to(torch.int8)
        packed = torch.ops.onednn.qlinear_prepack(quantised, [FEW_ROWS, weight.shape[1]])
        return packed, scale, torch.zeros(len(weight), dtype=torch.int32)

    def __call__(self, hidden: Tensor, temperature: float = 1.0) -> list[Tensor]:
        """hidden (R, H) -> logits / temperature, float32, as chunks (R, <= CHUNK)."""
        scale = hidden.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 63
        rounded = (torch.round(hidden / scale) + 64).to(torch.uint8)
        factor = scale / temperature
        return [
            torch.ops.onednn.qlinear_pointwise(
                rounded, 1.0, 64, packed, words, zeros, None, 1.0, 0, torch.float32, "none", [], ""
            ).mul_(factor)
            for packed, words, zeros in self._parts
        ]
