"""The policy as it was when a stage began: what later log-probabilities are held against.

Turning the adapter off gives the base model, which after a stage of SFT is the wrong reference. So the weights that are
trained, few where an adapter is, are kept as they were, and put in place while the reference speaks.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Reference:
    """A copy of trained weights."""

    def __init__(self, weights: Mapping[str, nn.Parameter]) -> None:
        """`weights`: those that are trained, by name; copied as they are now."""
        self._live = dict(weights)
        self._kept = {name: weight.detach().clone() for name, weight in weights.items()}

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """Within it the policy is the reference; afterwards it has its own weights back, bit for bit.

        No gradient may be pending on the weights' values: within it they change.
        """
        own = {name: weight.detach().clone() for name, weight in self._live.items()}
        try:
            self._put(self._kept)
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The kept weights, by reference."""
        return dict(self._kept)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""
        for name, kept in self._kept.items():
            kept.copy_(state[name])

    @torch.no_grad()
    def _put(self, values: Mapping[str, Tensor]) -> None:
        for name, weight in self._live.items():
            weight.copy_(values[name])
