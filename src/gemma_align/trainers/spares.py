"""Dynamic sampling (Yu et al. 2025, "DAPO", arXiv 2503.14476, eq. 11): other prompts for groups that say nothing.

Which prompt takes a group's place depends on the seed, the batch's number and the group, so a run that goes on after a
stop takes the same ones, and so does every number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gemma_align.data.splits import hashed
from gemma_align.types import Example


@dataclass(frozen=True, slots=True)
class Spares:
    """Where other prompts come from.

    examples     to draw from, with replacement
    max_refills  how often a group may be replaced
    seed         of the choice
    """

    examples: Sequence[Example]
    max_refills: int
    seed: int

    def instead_of(self, group: str, batch: int) -> Example:
        """Another prompt for a group, by the group's name and the batch's number."""
        return self.examples[hashed(self.seed, "spare", batch, group) % len(self.examples)]
