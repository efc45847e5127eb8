"""Randomness for generators: example i of a split depends on seed, split and i only, never on how many are made."""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from gemma_align.data.splits import hashed
from gemma_align.types import Split

T = TypeVar("T")

_SHARES: dict[Split, tuple[int, ...]] = {"train": (0, 1, 2), "tune": (3,), "report": (4,)}  # of every five entries


def pool(values: Sequence[T], split: Split) -> Sequence[T]:
    """The split's own part of a list of slot values: of every five, three are train's, one tune's, one report's."""
    return [value for i, value in enumerate(values) if i % 5 in _SHARES[split]]


def owner(seed: int, *filling: object) -> Split:
    """The one split that may use a combination of slot values: of five, three are train's, one tune's, one report's."""
    bucket = hashed(seed, "owner", *filling) % 5
    return next(split for split, shares in _SHARES.items() if bucket in shares)


class Draw:
    """Choices of one example."""

    def __init__(self, seed: int, name: str, split: Split, index: int) -> None:
        self.split: Split = split
        self._random = random.Random(hashed(seed, "builtin", name, split, index))

    def pick(self, values: Sequence[T]) -> T:
        """One of them."""
        return values[self._random.randrange(len(values))]

    def own(self, values: Sequence[T], keep: Callable[[T], bool] = bool) -> T:
        """One of the split's own part for which `keep` holds."""
        return self.pick([value for value in pool(values, self.split) if keep(value)])

    def some(self, values: Sequence[T], low: int, high: int) -> list[T]:
        """Between `low` and `high` different ones, in random order."""
        return self._random.sample(list(values), min(len(values), self.whole(low, high)))

    def some_own(self, values: Sequence[T], low: int, high: int, keep: Callable[[T], bool] = bool) -> list[T]:
        """As `some`, of the split's own part for which `keep` holds."""
        return self.some([value for value in pool(values, self.split) if keep(value)], low, high)

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._random.randint(low, high)

    def maybe(self, chance: float) -> bool:
        """True with this chance."""
        return self._random.random() < chance

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """In random order."""
        return self._random.sample(list(values), len(values))
