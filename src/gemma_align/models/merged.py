"""The weights a sampler multiplies with: the model's own, or base weight plus adapter.

The sum base + scaling B A is made in float32 in a copy of its own, and the model is never touched. Merging in place
and un-merging afterwards drifts by rounding, and copying originals back needs the same memory and a way to fail.
"""

from typing import Any

import torch
from torch import Tensor, nn

from gemma_align.errors import UserError


def _active(module: Any) -> list[str]:
    """Names of the LoRA adapters that take part in this module's product now."""
    if not hasattr(module, "lora_A") or module.disable_adapters or module.merged:
        return []
    return [name for name in module.active_adapters if name in module.lora_A]


def _base(module: Any) -> Any:
    return module.get_base_layer() if hasattr(module, "get_base_layer") else module


def base_weight(module: Any) -> Tensor:
    """The matrix without its adapters."""
    weight: Tensor = _base(module).weight.detach()
    return weight


def effective_weight(module: Any, name: str) -> Tensor:
    """The matrix this linear module multiplies with, (out, in), without a gradient; a view where nothing is merged.

    Args:
        module: an `nn.Linear`, or PEFT's LoRA around one.
        name: for the error.

    Raises:
        UserError: an adapter that isn't a plain low-rank sum.
    """
    base, adapters = _base(module), _active(module)
    plain = isinstance(module, nn.Linear) or hasattr(module, "lora_A")
    unmerged = getattr(module, "merged", False) and module.disable_adapters  # PEFT would take it out at the next call
    special = any(name in module.lora_variant or module.lora_B[name].bias is not None for name in adapters)
    if not plain or special or unmerged or base.bias is not None:
        raise UserError(
            f"the sampler takes linear layers without bias, plain or with plain LoRA (no DoRA or other variants); "
            f"{name} is a {type(module).__name__}{' with a variant, a bias or a merged adapter' if plain else ''}: "
            f"sample with transformers' own generate"
        )
    weight = base.weight.detach()
    for adapter in adapters:
        up, down = module.lora_B[adapter].weight.detach(), module.lora_A[adapter].weight.detach()
        weight = weight.float() + module.scaling[adapter] * (up.float() @ down.float())
    return weight.to(base.weight.dtype)


def fingerprint(*modules: Any) -> tuple[Any, ...]:
    """Changes whenever an optimizer, a loader or an adapter switch changes what these modules compute.

    Made of storages and PyTorch's own counters of in-place changes; only writes through `.data` go by unseen.
    """
    marks: list[Any] = []
    for module in modules:
        adapters = _active(module)
        weights = [_base(module).weight]
        for name in adapters:
            weights += [module.lora_A[name].weight, module.lora_B[name].weight]
            marks.append((name, module.scaling[name]))
        marks += [(w.untyped_storage()._cdata, 0 if w.is_inference() else w._version) for w in weights]
    return tuple(marks)


def only(module: Any, kind: type[nn.Module], name: str) -> Any:
    """The module, where it is what it seems: PEFT's wrappers show the base weight and compute something else.

    Raises:
        UserError: it is not of this kind.
    """
    if not isinstance(module, kind):
        raise UserError(
            f"the sampler takes adapters on linear layers only; {name} is a {type(module).__name__}, not a "
            f"{kind.__name__}: sample with transformers' own generate, or leave {name} out of the adapter"
        )
    return module


def stacked(modules: dict[str, Any]) -> Tensor:
    """Effective weights of modules with the same input, one above the other: one product for all."""
    return torch.cat([effective_weight(module, name) for name, module in modules.items()])
