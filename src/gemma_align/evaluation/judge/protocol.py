"""What a judge is asked and what it answers. Every pair is asked about twice, once in each order."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Verdict = Literal["A", "B", "tie"]
Order = Literal["first_is_a", "second_is_a"]
ORDERS: tuple[Order, Order] = ("first_is_a", "second_is_a")


@dataclass(frozen=True, slots=True)
class Pair:
    """One example's request with two responses to it."""

    id: str
    task: str
    prompt: str
    first: str
    second: str

    @property
    def identical(self) -> bool:
        """Nobody needs to be asked: white space at the ends aside, the responses are one."""
        return self.first.strip() == self.second.strip()


@dataclass(frozen=True, slots=True)
class Question:
    """A pair in one order, as the judge reads it.

    key  of this text put to this judge: an answer is kept under it, and is never taken for another question's
    """

    id: str
    order: Order
    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the judge said; `verdict` is None where that is no verdict.

    details  more that is worth keeping: tokens used, log-probabilities
    """

    key: str
    id: str
    order: Order
    text: str
    verdict: Verdict | None
    details: Mapping[str, Any]


Keep = Callable[[Answer], None]
"""Takes each answer as soon as it is there, one at a time."""


class Judge(Protocol):
    """Somebody who answers."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What tells this judge from others, as JSON values; holds no secret."""
        ...

    def write(self, pair: Pair, order: Order) -> str:
        """The question in the words that this judge is asked in."""
        ...

    def ask(self, questions: Sequence[Question], keep: Keep) -> None:
        """Puts every question, and hands every answer to `keep` as it comes.

        Raises JudgeError where it can't go on; what was kept before is good.
        """
        ...


def question(judge: Judge, pair: Pair, order: Order) -> Question:
    """The question with its key."""
    text = judge.write(pair, order)
    named = json.dumps([dict(judge.identity), text], sort_keys=True)
    return Question(pair.id, order, text, hashlib.sha256(named.encode()).hexdigest()[:32])
