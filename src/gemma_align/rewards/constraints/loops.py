"""The longest loop of a sequence: a stretch in which every item equals the one a period before it."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_PERIOD = 400  # items; a bound on the time for very long texts


@dataclass(frozen=True, slots=True)
class Loop:
    """Items start .. end (exclusive) repeat with the given period.

    repeated = end - start - period: how many items only say again what was said a period before.
    copies = (end - start) / period.
    """

    start: int
    end: int
    period: int

    @property
    def repeated(self) -> int:
        """See above."""
        return self.end - self.start - self.period

    @property
    def copies(self) -> float:
        """See above."""
        return (self.end - self.start) / self.period


def longest_loop(
    items: Sequence[Hashable], counts: Sequence[bool], min_copies: float, min_repeated: int
) -> Loop | None:
    """The loop with the most repeated items (of equals the one with the shortest period), None where there is none.

    Only loops of at least `min_copies` copies and `min_repeated` repeated items are looked for, with periods up to
    MAX_PERIOD, and only those that hold an item that `counts`. All n x min(n / min_copies, MAX_PERIOD) pairs are
    compared.
    """
    n = len(items)
    numbers: dict[Hashable, int] = {}
    ids = np.array([numbers.setdefault(item, len(numbers)) for item in items], dtype=np.int64)
    before = np.concatenate(([0], np.cumsum(np.array(counts, dtype=np.int64))))  # items that count, before each
    best: Loop | None = None
    for period in range(1, min(int(n / min_copies), MAX_PERIOD) + 1):
        least = max(min_repeated, math.ceil((min_copies - 1) * period - 1e-9), best.repeated + 1 if best else 1)
        equal = ids[period:] == ids[:-period]
        if int(np.count_nonzero(equal)) < least:
            continue
        starts, lengths = _runs(equal)
        ends = starts + lengths + period
        allowed = (lengths >= least) & (before[ends] > before[starts])
        if allowed.any():
            i = int(np.argmax(np.where(allowed, lengths, 0)))
            best = Loop(int(starts[i]), int(ends[i]), period)
    return best


def _runs(equal: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and length of each stretch between two False, empty ones included."""
    breaks = np.concatenate(([-1], np.flatnonzero(~equal), [len(equal)]))
    return breaks[:-1] + 1, np.diff(breaks) - 1
