"""A device on which numbers have shapes and no values: a step runs there as it is written, and takes no memory.

Integers and truths are real, because they decide what happens next (lengths, masks, positions, token ids), and so is
what is computed from them or from Python's numbers alone. Weights and all that comes of them are PyTorch's fake
tensors. Where the two meet:

    a fake float that is read (`item`, `tolist`) is 1.0
    an integer that comes of fake floats        is 0 (a sampled token is token 0)
    a truth that comes of fake floats           is False

As on a CUDA card: the fake tensors say that they are on one, and code that chooses by device chooses as it would
there. To PyTorch itself they stay CPU tensors, so neither a card nor a build with CUDA is needed, and its own choice of
kernels is the CPU's; the ones that matter (fused attention) keep the same tensors on both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

_CPU = torch.device("cpu")
_CARD = torch.device("cuda", 0)
_LARGEST_REAL = 2**26  # elements: beyond that, no tensor has values
_ONLY_REAL = (torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output, torch.Tag.inplace_view)
_WHERE = torch.ops.prim.device.default
_READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default)
_PACK = torch.ops.mkldnn._reorder_linear_weight.default if hasattr(torch.ops.mkldnn, "_reorder_linear_weight") else None
_INDEXED = (torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default, torch.ops.aten.index_put.default)


class _Pretend(TorchDispatchMode):
    """Stands above a FakeTensorMode and decides for each operation whether it runs for real or only in shape."""

    def __init__(self) -> None:
        super().__init__()
        self.deciding = 0  # how deep inside of an operation we are: there fake tensors are what PyTorch takes them for

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is _WHERE:  # asked all the time, also by autograd, which takes no card that PyTorch isn't built for
            return torch.device("meta") if args[0].fake_mode.in_kernel_invocation else _CPU
        self.deciding += 1
        try:
            return self._run(func, args, dict(kwargs or {}))
        finally:
            self.deciding -= 1

    def _run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        tensors = _tensors((args, kwargs))
        known = not any(isinstance(tensor, FakeTensor) for tensor in tensors)
        if func in _READS:
            return _really(func, args, {}) if known else _stand_in(tensors[0])
        if kwargs.get("device") not in (None, _CPU):
            kwargs["device"] = _CPU
            if func is torch.ops.aten._to_copy.default and not known and _only_moves(tensors[0], kwargs):
                return torch.ops.aten.alias.default(tensors[0])
        if known and any(tag in func.tags for tag in _ONLY_REAL):
            return _really(func, args, kwargs)
        if func is _PACK and not known:  # oneDNN's own layout has no fake form; it takes as much as the plain one
            return torch.ops.aten.clone.default(args[0])
        if func in _INDEXED:
            args = (args[0], [i for index in args[1] for i in _positions(index)], *args[2:])
        out = func(*args, **kwargs)
        made = [value for value in _tensors(out) if isinstance(value, FakeTensor)]
        if any(value.numel() > _LARGEST_REAL or (_is_float(value) and not (known and tensors)) for value in made):
            return out
        return _really(func, args, kwargs) if known else tree_map_only(FakeTensor, _zeros, out)


def _is_float(value: Tensor) -> bool:
    return value.dtype.is_floating_point or value.dtype.is_complex


def _tensors(tree: Any) -> list[Tensor]:
    return [value for value in tree_leaves(tree) if isinstance(value, Tensor)]


def _really(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    with unset_fake_temporarily():
        return func(*args, **kwargs)


def _stand_in(tensor: Tensor) -> float | int | bool:
    return 1.0 if _is_float(tensor) else False if tensor.dtype == torch.bool else 0


def _zeros(value: FakeTensor) -> Tensor:
    with unset_fake_temporarily():
        return torch.zeros(value.shape, dtype=value.dtype)


def _only_moves(tensor: Tensor, kwargs: Mapping[str, Any]) -> bool:
    return kwargs.get("dtype") in (None, tensor.dtype) and kwargs.get("memory_format") in (None, torch.preserve_format)


def _positions(index: Tensor | None) -> list[Tensor | None]:
    """A truth mask as one list of positions a dimension, as its number of Trues is not in its shape; others as is."""
    if index is None or index.dtype != torch.bool or isinstance(index, FakeTensor):
        return [index]
    with unset_fake_temporarily():
        return list(index.nonzero().unbind(1))


@contextmanager
def pretend(device: str) -> Iterator[None]:
    """Within it floats have no values; with device "cuda" they say that they are on a card."""
    mode = _Pretend()

    def shown(tensor: FakeTensor) -> torch.device:
        if tensor.fake_mode.in_kernel_invocation:
            return torch.device("meta")
        return _CPU if mode.deciding else _CARD

    def address(tensor: FakeTensor) -> int:
        return id(tensor.untyped_storage())

    says = patch.object(FakeTensor, "device", property(shown)) if device == "cuda" else nullcontext()
    names = patch.object(FakeTensor, "data_ptr", address, create=True)
    with says, names, FakeTensorMode(allow_non_fake_inputs=True), mode:
        yield
