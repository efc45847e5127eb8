"""Any number of models or methods on the same examples: every difference, what it says about these runs and about the
methods, corrected for how many there are. Pure functions of numbers; `experiments/compare.py` reads them from folders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gemma_align.evaluation import crossed
from gemma_align.evaluation.directions import direction
from gemma_align.evaluation.length_control import LengthControlled, at_equal_length, length_ratio
from gemma_align.evaluation.multiplicity import holm, level_left, smallest_effect
from gemma_align.evaluation.statistics import Interval, mean_interval, paired_interval, ratio_interval

Array = NDArray[np.float64]

LOSS = "response_loss"  # a ratio of sums: nats over tokens of the references


@dataclass(frozen=True, slots=True)
class Result:
    """One model's values, one an example, all (n,).

    columns  by measure, NaN where it isn't defined
    lengths  tokens generated; 0 where nothing was generated
    nats     of the references, NaN without one
    tokens   of the references
    """

    label: str
    columns: Mapping[str, Array]
    lengths: Array
    nats: Array
    tokens: Array

    @property
    def measures(self) -> tuple[str, ...]:
        """All that have a value somewhere."""
        return (*self.columns, *([LOSS] if np.isfinite(self.nats).any() else []))


@dataclass(frozen=True, slots=True)
class Contestant:
    """A method by its training runs, one a seed; or (`trained` False) one given model that no seed has a part in."""

    name: str
    results: tuple[Result, ...]
    trained: bool


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
class Comparison:
    """Everything.

    runs       each single model's value of each measure, with its interval over examples
    methods    the same of each method with several seeds, over seeds and examples
    num_tests  differences that could name a winner, of these runs and of the methods: what Holm corrects for
    """

    confidence: float
    runs: Mapping[str, Mapping[str, Interval]]
    methods: Mapping[str, Mapping[str, Interval]]
    pairs: tuple[Pair, ...]
    num_tests: tuple[int, int]


def compare(
    contestants: Sequence[Contestant],
    against: str | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    shown: Sequence[Contestant] = (),
) -> Comparison:
    """Every pair of contestants, or each with the one that `against` names.

    Args:
        contestants: at least two, of the same examples in the same order.
        against: the name of one of them; differences are the other - it. None: all pairs, later - earlier.
        confidence: of the intervals; winners are named at 1 - it.
        seed: of the bootstrap.
        shown: further ones, whose values are given but which are in no pair.
    """
    by_name = {c.name: c for c in contestants}
    if against is None:
        chosen = list(combinations(contestants, 2))
    else:
        chosen = [(by_name[against], other) for other in contestants if other.name != against]
    everyone = [*shown, *contestants]
    pairs, num_tests = _corrected([_pair(a, b, confidence, seed) for a, b in chosen], confidence)
    return Comparison(
        confidence=confidence,
        runs={r.label: _values(r, confidence, seed) for c in everyone for r in c.results},
        methods={c.name: _method_values(c, confidence) for c in everyone if c.trained and len(c.results) > 1},
        pairs=pairs,
        num_tests=num_tests,
    )


def _values(result: Result, confidence: float, seed: int) -> dict[str, Interval]:
    found = {}
    for name, column in result.columns.items():
        found[name] = mean_interval(column[np.isfinite(column)], confidence, seed)
    scored = np.isfinite(result.nats)
    if scored.any():
        found[LOSS] = ratio_interval(result.nats[scored], result.tokens[scored], confidence, seed)
    return found


def _method_values(method: Contestant, confidence: float) -> dict[str, Interval]:
    found = {}
    for measure in _common(method.results):
        stacked = _stack(measure, method.results)
        if stacked is not None and stacked.values.shape[1] > 1:
            found[measure] = crossed.interval(crossed.contrast(stacked.method_values()), confidence)
    return found


@dataclass(frozen=True, slots=True)
class _Stacked:
    """values (S, n) over the examples `kept` (a mask over all) that all results have; weights (n,) of a ratio."""

    values: Array
    weights: Array | None
    kept: NDArray[np.bool_]

    def method_values(self) -> Array:
        return self.values if self.weights is None else crossed.linearised(self.values, self.weights)


def _stack(measure: str, results: Sequence[Result]) -> _Stacked | None:
    """None where no example has the measure in all results, or references are read as different tokens."""
    columns = np.stack([r.nats if measure == LOSS else r.columns[measure] for r in results])
    kept = np.isfinite(columns).all(axis=0)
    if not kept.any():
        return None
    if measure != LOSS:
        return _Stacked(columns[:, kept], None, kept)
    tokens = np.stack([r.tokens for r in results])[:, kept]
    if not bool((tokens == tokens[0]).all()):
        return None
    return _Stacked(columns[:, kept], tokens[0], kept)


def _common(results: Sequence[Result]) -> list[str]:
    """Measures that all have, in the first's order."""
    return [name for name in results[0].measures if all(name in r.measures for r in results)]


@dataclass(frozen=True, slots=True)
class _Found:
    """A row before correction, with what the smallest effect needs."""

    row: Row
    contrast: crossed.Contrast | None


@dataclass(frozen=True, slots=True)
class _FoundPair:
    first: Contestant
    second: Contestant
    rows: tuple[_Found, ...]
    lengths: Interval | None
    no_method: str


def _pair(a: Contestant, b: Contestant, confidence: float, seed: int) -> _FoundPair:
    results = (*a.results, *b.results)
    no_method = _no_method(a, b)
    logs = _log_lengths(a, b)
    rows = []
    for measure in _common(results):
        stacked = _stack(measure, results)
        if stacked is None:
            continue
        first, second = stacked.values[: len(a.results)], stacked.values[len(a.results) :]
        if stacked.weights is None:
            these = paired_interval(second.mean(0), first.mean(0), confidence, seed)
        else:
            these = ratio_interval(second.mean(0) - first.mean(0), stacked.weights, confidence, seed)
        found = None
        if not no_method and stacked.values.shape[1] > 1:
            values = stacked.method_values()
            found = crossed.contrast(
                values[len(a.results) :], values[: len(a.results)], a_trained=b.trained, b_trained=a.trained
            )
        controlled = None
        if logs is not None and direction(measure).of_response:
            differences = second.mean(0) - first.mean(0)
            controlled = at_equal_length(differences, (logs[1] - logs[0])[stacked.kept], confidence)
        method = None if found is None else Statement(crossed.interval(found, confidence))
        share = None if found is None else float(found.seed_share)
        rows.append(_Found(Row(measure, Statement(these), method, controlled, share), found))
    lengths = None if logs is None else length_ratio(np.exp(logs[1]), np.exp(logs[0]), confidence, seed)
    return _FoundPair(a, b, tuple(rows), lengths, no_method)


def _no_method(a: Contestant, b: Contestant) -> str:
    """Why nothing can be said about the two methods."""
    single = [c.name for c in (a, b) if c.trained and len(c.results) == 1]
    if single:
        names = " and ".join(single)
        return f"{names} {'has' if len(single) == 1 else 'have'} one training seed{'' if len(single) == 1 else ' each'}"
    return "" if a.trained or b.trained else "neither was trained here"


def _log_lengths(a: Contestant, b: Contestant) -> tuple[Array, Array] | None:
    """Of each side's responses, averaged over its runs; None where something has no length."""
    sides = [np.stack([r.lengths for r in c.results]) for c in (a, b)]
    if any(bool((side <= 0).any()) for side in sides):
        return None
    first, second = (np.log(side).mean(0) for side in sides)
    return first, second


def _corrected(found: Sequence[_FoundPair], confidence: float) -> tuple[tuple[Pair, ...], tuple[int, int]]:
    """Holm over all rows of all pairs that could name a winner, once for each question."""
    alpha = 1 - confidence
    judged = [f for pair in found for f in pair.rows if direction(f.row.measure).better is not None]
    about_methods = [f for f in judged if f.row.method is not None]
    runs_p = _holm_of([f.row.runs for f in judged])
    method_p = _holm_of([f.row.method for f in about_methods if f.row.method is not None])
    runs_level, method_level = level_left(runs_p, alpha), level_left(method_p, alpha)
    of_runs = {id(f): p for f, p in zip(judged, runs_p, strict=True)}
    of_methods = {id(f): p for f, p in zip(about_methods, method_p, strict=True)}
    pairs = []
    for pair in found:
        rows = []
        for f in pair.rows:
            row, runs, method = f.row, f.row.runs, f.row.method
            if id(f) in of_runs:
                smallest = _smallest_for_runs(runs.difference, runs_level)
                runs = _decided(runs, of_runs[id(f)], smallest, row.measure, pair, alpha)
            if method is not None and id(f) in of_methods:
                assert f.contrast is not None
                smallest = _smallest_for_method(f.contrast, method.difference, method_level)
                method = _decided(method, of_methods[id(f)], smallest, row.measure, pair, alpha)
            rows.append(replace(row, runs=runs, method=method))
        pairs.append(Pair(pair.first.name, pair.second.name, tuple(rows), pair.lengths, pair.no_method))
    return tuple(pairs), (len(judged), len(about_methods))


def _holm_of(statements: Sequence[Statement]) -> list[float]:
    """What has no interval shows nothing: p = 1, so that the table's size doesn't depend on what was found."""
    p = [1.0 if s.difference.p is None else s.difference.p for s in statements]
    return [float(c) for c in holm(p)] if p else []


def _decided(
    statement: Statement, corrected: float, smallest: float | None, measure: str, pair: _FoundPair, alpha: float
) -> Statement:
    """With a winner only where the corrected p and the interval itself both say so."""
    winner = None
    if corrected <= alpha and statement.difference.excludes_zero:
        second = (statement.difference.mean > 0) == (direction(measure).better == "higher")
        winner = pair.second.name if second else pair.first.name
    return replace(statement, corrected=corrected, smallest=smallest, winner=winner)


def _smallest_for_runs(difference: Interval, level: float) -> float | None:
    if difference.error is None:
        return None
    df = difference.n - 1
    return smallest_effect(difference.error, float(stats.t.ppf(1 - level / 2, df)) * difference.error, df)


def _smallest_for_method(found: crossed.Contrast, difference: Interval, level: float) -> float | None:
    if difference.error is None:
        return None
    return smallest_effect(difference.error, float(found.half_width(level)), float(found.satterthwaite_df()))
