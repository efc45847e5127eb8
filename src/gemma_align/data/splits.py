"""Seeded, stable choices: which examples go where. All of them rank a hash, so none depends on the order of rows."""

import hashlib
import json
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from gemma_align.types import Example

T = TypeVar("T")


def hashed(seed: int, *parts: object) -> int:
    """64 bits that depend on the seed and the parts only, on every machine."""
    text = json.dumps([seed, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def subset(examples: Sequence[Example], at_most: int | None, seed: int) -> tuple[Example, ...]:
    """At most so many, in their order. A smaller subset is part of a larger one with the same seed."""
    if at_most is None or at_most >= len(examples):
        return tuple(examples)
    ranked = sorted(range(len(examples)), key=lambda i: (hashed(seed, "subset", examples[i].id), i))
    return tuple(examples[i] for i in sorted(ranked[:at_most]))


def balanced(examples: Sequence[Example], label: str, at_most: int | None, seed: int) -> tuple[Example, ...]:
    """As many whose `checks` say the label is true as others, as many as there are and in their order.

    A seed's subset of either side, as `subset` draws it; empty where one side is.
    """
    sides = [[e for e in examples if (e.checks.get(label) is True) is wanted] for wanted in (True, False)]
    size = min(map(len, sides)) if at_most is None else min(*map(len, sides), at_most // 2)
    kept = {example.id for side in sides for example in subset(side, size, seed)}
    return tuple(example for example in examples if example.id in kept)


def cut(groups: Sequence[Hashable], share: float, seed: int, label: str) -> set[Hashable]:
    """The groups that leave for a split of their own: `share` of the distinct ones, at least one."""
    distinct = sorted(set(groups), key=lambda group: (hashed(seed, "cut", label, group), str(group)))
    return set(distinct[: max(1, round(share * len(distinct)))])


def fingerprint(examples: Iterable[Example]) -> str:
    """SHA-256 (hexadecimal) over everything the examples hold, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        record = [
            example.id,
            example.prompt,
            example.response,
            example.rejected,
            [[turn.role, turn.content] for turn in example.history],
            example.cue,
            dict(example.checks),
        ]
        digest.update(json.dumps(record, sort_keys=True, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()
