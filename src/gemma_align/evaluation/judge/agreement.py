"""From answers to wins, ties and losses, and how far the judge can be relied on.

The rule: the first response wins a pair where both orders say so, and loses it where both say the other; everything
else is a tie (Zheng et al. 2023, "Judging LLM-as-a-judge", section 3.4). A pair with an answer that is no verdict is
undecided: it is counted, and stays out of the shares.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gemma_align.evaluation.judge.protocol import ORDERS, Answer, Order, Pair, Verdict
from gemma_align.evaluation.statistics import Interval, mean_interval, paired_interval

Outcome = Literal["win", "tie", "loss", "undecided"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair with what came of it. `verdicts` is empty where the responses are identical and nobody was asked."""

    id: str
    outcome: Outcome
    verdicts: Mapping[Order, Verdict | None]


@dataclass(frozen=True, slots=True)
class Agreement:
    """All pairs together.

    win, tie, loss  shares of the decided pairs, from the first model's side
    net             win - loss, paired
    consistent      share of the decided pairs that were asked about in which both orders say the same
    position        mean over these pairs of (answers A - answers B) / 2: above 0 the judge favours what it reads first,
                    below 0 what it reads last; a judge that looks only at the content has 0
    """

    num_pairs: int
    num_identical: int
    num_undecided: int
    num_answers: int
    num_unparsed: int
    win: Interval | None
    tie: Interval | None
    loss: Interval | None
    net: Interval | None
    consistent: Interval | None
    position: Interval | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, intervals as in evaluation.json."""
        kept = ("mean", "low", "high", "n")
        return {
            name: {key: value[key] for key in kept} if isinstance(value, dict) else value
            for name, value in asdict(self).items()
        }


def judged(pairs: Sequence[Pair], answers: Iterable[Answer]) -> list[Judged]:
    """What came of each pair, in order. Every pair that isn't identical needs both its answers."""
    found = {(answer.id, answer.order): answer.verdict for answer in answers}
    return [_judged(pair, found) for pair in pairs]


def _judged(pair: Pair, found: Mapping[tuple[str, Order], Verdict | None]) -> Judged:
    if pair.identical:
        return Judged(pair.id, "tie", {})
    verdicts = {order: found[pair.id, order] for order in ORDERS}
    said = [_of_first(verdict, order) for order, verdict in verdicts.items()]
    if None in said:
        return Judged(pair.id, "undecided", verdicts)
    outcome: Outcome = "win" if said == [1, 1] else "loss" if said == [-1, -1] else "tie"
    return Judged(pair.id, outcome, verdicts)


def _of_first(verdict: Verdict | None, order: Order) -> int | None:
    """1 for the first model, -1 against it, 0 for a tie."""
    if verdict is None:
        return None
    return 0 if verdict == "tie" else 1 if (verdict == "A") == (order == "first_is_a") else -1


def agreement(rows: Sequence[Judged], confidence: float = 0.95, seed: int = 0) -> Agreement:
    """Shares with intervals. Where nothing was decided there are none."""
    decided = [row for row in rows if row.outcome != "undecided"]
    asked = [row for row in decided if row.verdicts]
    given = [verdict for row in rows for verdict in row.verdicts.values()]

    def share(outcome: Outcome) -> Interval | None:
        return _mean([float(row.outcome == outcome) for row in decided], confidence, seed)

    won, lost = ([float(row.outcome == outcome) for row in decided] for outcome in ("win", "loss"))
    leaning = [sum({"A": 0.5, "B": -0.5}.get(str(v), 0.0) for v in row.verdicts.values()) for row in asked]
    return Agreement(
        num_pairs=len(rows),
        num_identical=sum(not row.verdicts for row in rows),
        num_undecided=len(rows) - len(decided),
        num_answers=len(given),
        num_unparsed=given.count(None),
        win=share("win"),
        tie=share("tie"),
        loss=share("loss"),
        net=paired_interval(won, lost, confidence, seed) if decided else None,
        consistent=_mean([float(_same(row)) for row in asked], confidence, seed),
        position=_mean(leaning, confidence, seed),
    )


def _same(row: Judged) -> bool:
    one, other = (_of_first(row.verdicts[order], order) for order in ORDERS)
    return one == other


def _mean(values: Sequence[float], confidence: float, seed: int) -> Interval | None:
    return mean_interval(values, confidence, seed) if values else None
