"""The rate of float32 matrix products at the model's own shapes and with its own weights, by kernel.

Every sweep goes over the matrices of many layers, or over a quarter of the head in slices: 170 MB or more, so that
weights come from where they come from in real work, from memory, and not from a cache that holds the one matrix a
simpler loop would repeat. The rate is the fastest of several sweeps: it serves as a floor.

    F.linear         what PyTorch gives everyone: its BLAS (Intel MKL in the builds on PyPI)
    weight @ x.T     the same BLAS, transposed: better for few rows
    oneDNN           oneDNN on plain weights (`core/matmul.py`)
    oneDNN, packed   oneDNN on weights in its own layout (`models/packed.py`), which frozen weights allow
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gemma_align.core.matmul import has_onednn, product
from gemma_align.models.packed import PackedLinear, can_pack

SECONDS = 0.5  # a kernel and shape, at least
SLICES = (4096, 16384)  # words of the head at once
MAX_OUTPUT = 2**23  # numbers a product gives: larger ones leave the cache
HEAD_SHARE = 4

Kernel = Callable[[Tensor, Any], Tensor]


def _kernels(weights: list[Tensor]) -> Iterator[tuple[str, Kernel, list[Any]]]:
    """Name, x @ weight.T for x (rows, in), and the weights in the form it takes."""
    yield "F.linear", F.linear, weights
    yield "weight @ x.T", lambda x, weight: torch.mm(weight, x.t()), weights
    if has_onednn(weights[0]):
        yield "oneDNN", product, weights
    if can_pack(weights[0]):
        yield "oneDNN, packed", lambda x, weight: weight(x), [PackedLinear(weight) for weight in weights]


def _gflops(weights: list[Tensor], rows: int) -> dict[str, float]:
    """GFLOP/s by kernel, of the fastest sweep over all weights."""
    inputs = {width: torch.randn(rows, width) for width in {w.shape[1] for w in weights}}
    flops = 2.0 * rows * sum(w.numel() for w in weights)
    found = {}
    for name, kernel, forms in _kernels(weights):
        pairs = [(inputs[plain.shape[1]], form) for plain, form in zip(weights, forms, strict=True)]
        fastest, until = float("inf"), time.perf_counter() + SECONDS
        while time.perf_counter() < until or fastest == float("inf"):
            started = time.perf_counter()
            for x, weight in pairs:
                kernel(x, weight)
            fastest = min(fastest, time.perf_counter() - started)
        found[name] = flops / fastest / 1e9
    return found


def block_rates(model: Any, rows: int) -> dict[str, float]:
    """At the MLP's gate, up and down projections, three fifths of the layers."""
    layers = model.model.layers[: max(3 * len(model.model.layers) // 5, 1)]
    projections = ("gate_proj", "up_proj", "down_proj")
    return _gflops([getattr(layer.mlp, name).weight.detach() for layer in layers for name in projections], rows)


def head_rates(model: Any, rows: int) -> dict[str, float]:
    """Over a part of the head, each kernel at its fastest slice width."""
    head = model.lm_head.weight.detach()
    head = head[: max(len(head) // HEAD_SHARE, 1)]
    found: dict[str, float] = {}
    for width in [width for width in SLICES if width * rows <= MAX_OUTPUT] or [SLICES[0]]:
        for name, rate in _gflops(list(head.split(width)), rows).items():
            found[name] = max(found.get(name, 0.0), rate)
    return found


@torch.no_grad()
def measure(model: Any, block_rows: int, head_rows: int, *, head: bool = True) -> dict[str, Any]:
    """Rates in GFLOP/s by kernel, and the rows they were taken at."""
    found: dict[str, Any] = {"block_rows": block_rows, "block_gflops": block_rates(model, block_rows)}
    if head:
        found |= {"head_rows": head_rows, "head_gflops": head_rates(model, head_rows)}
    return found
