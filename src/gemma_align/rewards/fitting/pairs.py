"""Which examples are preference pairs, and their parting by first turn: proxy and gold, fit and dev."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gemma_align.data.splits import cut
from gemma_align.data.text import normal_form
from gemma_align.errors import DataError
from gemma_align.types import Example


@dataclass(frozen=True, slots=True)
class Pairs:
    """What an encoder is fitted to, and what says when to stop; no first turn is in both."""

    fit: tuple[Example, ...]
    dev: tuple[Example, ...]


def first_turn(example: Example) -> str:
    """How the conversation begins, in normal form: conversations that share it are not independent."""
    return normal_form(example.history[0].content if example.history else example.prompt)


def pairs_of(examples: Sequence[Example]) -> tuple[Example, ...]:
    """Those with a response and a rejected one."""
    return tuple(e for e in examples if e.response is not None and e.rejected is not None)


def part_of(
    pairs: Sequence[Example], part: Literal["all", "proxy", "gold"], gold_share: float, seed: int
) -> tuple[Example, ...]:
    """The pairs of a part: `gold` has `gold_share` of the first turns, `proxy` the others."""
    if part == "all":
        return tuple(pairs)
    turns = [first_turn(example) for example in pairs]
    gold = cut(turns, gold_share, seed, "reward gold")
    return tuple(e for e, turn in zip(pairs, turns, strict=True) if (turn in gold) == (part == "gold"))


def cut_dev(pairs: Sequence[Example], share: float, seed: int) -> Pairs:
    """`share` of the first turns, at least one, leave with all of their pairs.

    Raises DataError where nothing would be left to fit to.
    """
    turns = [first_turn(example) for example in pairs]
    if len(set(turns)) < 2:
        raise DataError(
            f"wanted preference pairs (a response and a rejected one) that begin in at least two ways, given "
            f"{len(pairs):,} that begin in {len(set(turns))}: give data.train with more pairs"
        )
    leaving = cut(turns, share, seed, "reward dev")
    if leaving == set(turns):
        raise DataError(f"reward.encoder.dev_share={share} leaves no pair to fit to: give a smaller share")
    return Pairs(
        fit=tuple(e for e, turn in zip(pairs, turns, strict=True) if turn not in leaving),
        dev=tuple(e for e, turn in zip(pairs, turns, strict=True) if turn in leaving),
    )
