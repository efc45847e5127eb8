"""Low-rank matrices of one's own beside the frozen base model: what a critic or a reward reads it through.

The policy's PEFT adapter is off while they read, so what they say doesn't move with the policy; and the policy's
adapter, its trainable weights and what it saves know nothing of them. They act through hooks that are there only
while this file reads.

Rows aren't recomputed in backward, however long: by then the hooks are gone.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gemma_align.core.packing import PackedRow
from gemma_align.models.policy import Policy

TARGETS = ("q_proj", "v_proj")


class LowRank(nn.Module):
    """scale * B A x beside a linear layer (Hu et al. 2021); B starts at 0, so it starts as nothing."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        start, device = torch.empty(rank, layer.in_features), layer.weight.device
        nn.init.kaiming_uniform_(start, a=math.sqrt(5))  # drawn on the CPU: the same numbers on every device
        self.a = nn.Parameter(start.to(device))
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank, device=device))

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """Scale 2, as alpha is twice the rank."""
        return 2.0 * F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))


class Beside(nn.Module):
    """The policy's base model with matrices of our own. `rank` 0: without, and nothing is trained."""

    def __init__(self, policy: Policy, rank: int) -> None:
        super().__init__()
        self._policy = (policy,)  # in a tuple: not a submodule, so it is neither trained nor saved with us
        self._layers = _linear_layers(policy.causal_lm) if rank else {}
        self.low_rank = nn.ModuleDict(
            {name.replace(".", "/"): LowRank(layer, rank) for name, layer in self._layers.items()}
        )

    @property
    def policy(self) -> Policy:
        """Whose base model it is."""
        return self._policy[0]

    def hidden(self, row: PackedRow) -> Float[Tensor, "M H"]:
        """The last layer's states of the predictors of a row that the policy packed; differentiable in our matrices."""
        policy = self.policy
        was_training = policy.model.training
        with ExitStack() as stack:
            if policy.has_adapter:
                stack.enter_context(policy.base())
            policy.model.eval()
            stack.callback(policy.model.train, was_training)
            for name, layer in self._layers.items():
                stack.enter_context(_hook(layer, self.low_rank[name.replace(".", "/")]))
            return policy.hidden(row)


@contextmanager
def _hook(layer: nn.Linear, ours: nn.Module) -> Iterator[None]:
    def add(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output + ours(inputs[0])

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The base model's linear layers that get matrices, inside PEFT's wrappers where there are some.

    Named as they are without PEFT, so that what was fitted beside an adapter loads without one.
    """
    return {
        name.removesuffix(".base_layer"): module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.removesuffix(".base_layer").endswith(TARGETS)
    }
