"""Several processes that act as one: they split the examples, and add up counts, gradients and metrics.

There is no data-parallel wrapper and no averaging. Losses are divided by the counts of the whole minibatch, so
gradients are simply summed, once a minibatch, over the few numbers an adapter has. Processes may therefore see
different numbers of microbatches, or none. accelerate finds the devices and starts the processes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gemma_align.types import Example

_COUNT = ""  # no metric is called so
MAX = "_max"


def share(examples: Sequence[Example], accelerator: Accelerator) -> Sequence[Example]:
    """This process's part of a batch; may be empty."""
    return examples[accelerator.process_index :: accelerator.num_processes]


def total(values: Sequence[float], accelerator: Accelerator) -> list[float]:
    """Sums over all processes, exact for counts."""
    if accelerator.num_processes == 1:
        return list(values)
    dtype = torch.float32 if accelerator.device.type == "mps" else torch.float64
    summed = accelerator.reduce(torch.tensor(values, dtype=dtype, device=accelerator.device), reduction="sum")
    return [float(v) for v in summed]


def any_of(value: bool, accelerator: Accelerator) -> bool:
    """Whether it is so in any process."""
    return total([float(value)], accelerator)[0] > 0


def total_metrics(metrics: Mapping[str, float], accelerator: Accelerator) -> dict[str, float]:
    """Sums by name, and of names that end in `_max` the largest. All processes have the same names, as each takes part
    in every minibatch."""
    names, summed = sorted(metrics), _sums(metrics, accelerator)
    highest = [name for name in names if name.endswith(MAX)]
    return summed | dict(zip(highest, _largest([metrics[name] for name in highest], accelerator), strict=True))


def combine(name: str, values: Iterable[float]) -> float:
    """One metric of several parts: their sum, or the largest."""
    known = list(values)
    if not name.endswith(MAX):
        return sum(known)
    return math.nan if any(map(math.isnan, known)) else max(known)


def mean_metrics(sums: Mapping[str, float], count: float, accelerator: Accelerator) -> dict[str, float]:
    """Sums by name over the sum of the counts, all processes together. Every process must have the same names."""
    summed = _sums({**sums, _COUNT: count}, accelerator)
    divisor = summed.pop(_COUNT)
    return {name: summed[name] / divisor for name in sums}


def sum_gradients(weights: Mapping[str, nn.Parameter], accelerator: Accelerator) -> None:
    """Every process ends with the sum of all gradients; one message for all weights together."""
    if accelerator.num_processes == 1:
        return
    gradients: list[Tensor] = []
    for weight in weights.values():
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        gradients.append(weight.grad)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    flat = accelerator.reduce(flat, reduction="sum")
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _sums(metrics: Mapping[str, float], accelerator: Accelerator) -> dict[str, float]:
    names = sorted(metrics)
    return dict(zip(names, total([metrics[name] for name in names], accelerator), strict=True))


def _largest(values: Sequence[float], accelerator: Accelerator) -> list[float]:
    if accelerator.num_processes == 1 or not values:
        return list(values)
    gathered = accelerator.gather(torch.tensor([values], dtype=torch.float32, device=accelerator.device))
    return [float(v) for v in gathered.amax(dim=0)]
