"""From differences to winners: what was found, corrected for how many there are, and what could not have been seen.

Holm's correction runs over all rows of a table that could name a winner, once for each of the two questions: about
these runs, and about the methods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import stats

from gemma_align.evaluation import crossed
from gemma_align.evaluation.directions import direction
from gemma_align.evaluation.length_control import LengthControlled
from gemma_align.evaluation.multiplicity import holm, level_left, smallest_effect
from gemma_align.evaluation.statistics import Interval


@dataclass(frozen=True, slots=True)
class Statement:
    """One difference as an answer to one question.

    corrected  p by Holm over the table; None where no way is better, so no winner is looked for
    smallest   the true difference that would have been found with 80 % power
    winner     the better side's name, or None: nothing can be said
    """

    difference: Interval
    corrected: float | None = None
    smallest: float | None = None
    winner: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of one pair, second - first.

    runs      of these trained weights, on other examples
    method    of the methods, with other seeds and other examples; None: see the pair's `no_method`
    at_equal_length  of these runs; None where the measure isn't of a response, or lengths don't allow it
    seed_share       share of the method statement's squared error that is the seeds'
    """

    measure: str
    runs: Statement
    method: Statement | None
    at_equal_length: LengthControlled | None
    seed_share: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two contestants, with a row for every measure that both have."""

    first: str
    second: str
    rows: tuple[Row, ...]
    lengths: Interval | None  # second's length / first's, geometric mean; None where nothing was generated
    no_method: str  # why nothing is said about the methods; empty where something is


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row before correction. `within_one`: all values lie between 0 and 1, so no difference is larger than 1."""

    row: Row
    contrast: crossed.Contrast | None
    within_one: bool


@dataclass(frozen=True, slots=True)
class FoundPair:
    """A pair before correction."""

    first: str
    second: str
    rows: tuple[FoundRow, ...]
    lengths: Interval | None
    no_method: str


def corrected(found: Sequence[FoundPair], confidence: float) -> tuple[tuple[Pair, ...], tuple[int, int]]:
    """The pairs with p-values corrected over all of them, and how many there were of these runs and of the methods."""
    alpha = 1 - confidence
    judged = [f for pair in found for f in pair.rows if direction(f.row.measure).better is not None]
    of_runs = _Family({id(f): f.row.runs for f in judged}, alpha)
    of_methods = _Family({id(f): f.row.method for f in judged if f.row.method is not None}, alpha)
    pairs = []
    for pair in found:
        rows = []
        for f in pair.rows:
            runs, method = f.row.runs, f.row.method
            if id(f) in of_runs.corrected:
                smallest = _smallest_for_runs(runs.difference, of_runs.level)
                runs = _decided(runs, of_runs.corrected[id(f)], smallest, f, pair, alpha)
            if method is not None and id(f) in of_methods.corrected:
                assert f.contrast is not None
                smallest = _smallest_for_method(f.contrast, method.difference, of_methods.level)
                method = _decided(method, of_methods.corrected[id(f)], smallest, f, pair, alpha)
            rows.append(replace(f.row, runs=runs, method=method))
        pairs.append(Pair(pair.first, pair.second, tuple(rows), pair.lengths, pair.no_method))
    return tuple(pairs), (len(of_runs.corrected), len(of_methods.corrected))


class _Family:
    """Statements that are corrected together. One without an interval shows nothing: its p is 1, so that the family's
    size doesn't depend on what was found."""

    def __init__(self, statements: Mapping[int, Statement], alpha: float) -> None:
        p = [1.0 if s.difference.p is None else s.difference.p for s in statements.values()]
        adjusted = [float(value) for value in holm(p)] if p else []
        self.corrected = dict(zip(statements, adjusted, strict=True))
        self.level = level_left(adjusted, alpha)


def _decided(
    statement: Statement, p: float, smallest: float | None, found: FoundRow, pair: FoundPair, alpha: float
) -> Statement:
    """With a winner only where the corrected p and the interval itself both say so."""
    winner = None
    if p <= alpha and statement.difference.excludes_zero:
        second = (statement.difference.mean > 0) == (direction(found.row.measure).better == "higher")
        winner = pair.second if second else pair.first
    if smallest is not None and found.within_one and smallest > 1:
        smallest = None
    return replace(statement, corrected=p, smallest=smallest, winner=winner)


def _smallest_for_runs(difference: Interval, level: float) -> float | None:
    if difference.error is None:
        return None
    df = difference.n - 1
    return smallest_effect(difference.error, float(stats.t.ppf(1 - level / 2, df)) * difference.error, df)


def _smallest_for_method(found: crossed.Contrast, difference: Interval, level: float) -> float | None:
    if difference.error is None:
        return None
    return smallest_effect(difference.error, float(found.half_width(level)), float(found.satterthwaite_df()))
