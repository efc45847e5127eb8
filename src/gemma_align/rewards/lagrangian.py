"""beta as a multiplier: it grows while more answers violate a constraint than the target allows, and falls again.

    log beta <- log beta + step x (share of violations - target),   after `delay` batches, within [low, high]

Stooke et al. 2020 (arXiv 2007.03964) for the multiplier; the logarithm keeps it positive and makes the same error move
it by the same factor (as Dai et al. 2023, arXiv 2310.12773, do). Bounded: a target that can't be met must not drown
the encoder for ever.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Multiplier:
    """The multiplier with its state; `observe` once a batch of rollouts, never while evaluating.

    beta         now
    target       share of answers that may violate a constraint, 0 to 1
    step         change of log beta a batch where the share is 1 over the target
    low, high    bounds of beta, above 0
    delay        batches before the first change: the start policy's share is not yet training's doing
    num_batches  observed so far
    """

    beta: float
    target: float
    step: float
    low: float
    high: float
    delay: int
    num_batches: int = 0

    def observe(self, violations: int, num_answers: int) -> None:
        """A batch of `num_answers`, of which `violations` violated some constraint; nothing for an empty one."""
        if num_answers == 0:
            return
        self.num_batches += 1
        if self.num_batches > self.delay:
            moved = math.log(self.beta) + self.step * (violations / num_answers - self.target)
            self.beta = min(max(math.exp(moved), self.low), self.high)

    def state_dict(self) -> dict[str, float]:
        """What changes, as JSON values."""
        return {"beta": self.beta, "num_batches": self.num_batches}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Takes back what `state_dict` gave."""
        self.beta, self.num_batches = float(state["beta"]), int(state["num_batches"])
