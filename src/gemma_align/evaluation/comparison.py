"""Any number of models or methods on the same examples: every difference, what it says about these runs and about the
methods, corrected for how many there are. Pure functions of numbers; `experiments/compare.py` reads them from folders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gemma_align.evaluation import crossed
from gemma_align.evaluation.directions import direction, is_share
from gemma_align.evaluation.length_control import at_equal_length, length_ratio
from gemma_align.evaluation.statistics import Interval, mean_interval, paired_interval, ratio_interval
from gemma_align.evaluation.verdicts import FoundPair, FoundRow, Pair, Row, Statement, corrected

Array = NDArray[np.float64]

LOSS = "response_loss"  # a ratio of sums: nats over tokens of the references
LEAST_COMMON = 10  # examples on which a measure has to be defined for all, where it isn't for some


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
    """A method by its training runs, one a seed; or (`trained` False) one given model that no seed has a part in.

    starts  what each run shares by chance with those of other methods, such as the SFT policy that it began from;
            methods that have some in common are compared by the runs of those. Empty: runs share nothing.
    """

    name: str
    results: tuple[Result, ...]
    trained: bool
    starts: tuple[str, ...] = ()


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
    pairs, num_tests = corrected([_pair(a, b, confidence, seed) for a, b in chosen], confidence)
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
            if is_share(measure) and _all_within_one(stacked.values):
                found[measure] = _within_one(found[measure])
    return found


def _all_within_one(values: Array) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _within_one(interval: Interval) -> Interval:
    """Cut to where a share can lie: what is cut off is known not to hold the mean, so the confidence stays."""
    if interval.low is None or interval.high is None:
        return interval
    return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))


@dataclass(frozen=True, slots=True)
class _Stacked:
    """values (S, n) over the examples `kept` (a mask over all) that all results have; weights (n,) of a ratio."""

    values: Array
    weights: Array | None
    kept: NDArray[np.bool_]

    def method_values(self) -> Array:
        return self.values if self.weights is None else crossed.linearised(self.values, self.weights)


def _stack(measure: str, results: Sequence[Result]) -> _Stacked | None:
    """None where too few examples have the measure in all results, or references are read as different tokens."""
    columns = np.stack([r.nats if measure == LOSS else r.columns[measure] for r in results])
    kept = np.asarray(np.isfinite(columns).all(axis=0))
    if kept.sum() < min(LEAST_COMMON, len(kept)):
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


def _pair(a: Contestant, b: Contestant, confidence: float, seed: int) -> FoundPair:
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
        found = None if no_method else _of_methods(a, b, stacked)
        controlled = None
        if logs is not None and direction(measure).of_response:
            differences = second.mean(0) - first.mean(0)
            controlled = at_equal_length(differences, (logs[1] - logs[0])[stacked.kept], confidence)
        method = None if found is None else Statement(crossed.interval(found, confidence))
        share = None if found is None else float(found.seed_share)
        row = Row(measure, Statement(these), method, controlled, share)
        rows.append(FoundRow(row, found, _all_within_one(stacked.values)))
    lengths = None if logs is None else length_ratio(np.exp(logs[1]), np.exp(logs[0]), confidence, seed)
    return FoundPair(a.name, b.name, tuple(rows), lengths, no_method)


def _of_methods(a: Contestant, b: Contestant, stacked: _Stacked) -> crossed.Contrast | None:
    """b - a with other seeds and other examples."""
    if stacked.values.shape[1] < 2:
        return None
    values = stacked.method_values()
    first, second = values[: len(a.results)], values[len(a.results) :]
    if pairs := _shared(a, b):
        return crossed.contrast(np.stack([second[j] - first[i] for i, j in pairs]))
    return crossed.contrast(second, first, a_trained=b.trained, b_trained=a.trained)


def _shared(a: Contestant, b: Contestant) -> list[tuple[int, int]]:
    """The runs of each that began from the same start."""
    return [(i, b.starts.index(start)) for i, start in enumerate(a.starts) if start in b.starts]


def _no_method(a: Contestant, b: Contestant) -> str:
    """Why nothing can be said about the two methods."""
    single = [c.name for c in (a, b) if c.trained and len(c.results) == 1]
    if single:
        names = " and ".join(single)
        return f"{names} {'has' if len(single) == 1 else 'have'} one training seed{'' if len(single) == 1 else ' each'}"
    if len(_shared(a, b)) == 1:
        return f"only one run of {a.name} and {b.name} began from the same start"
    return "" if a.trained or b.trained else "neither was trained here"


def _log_lengths(a: Contestant, b: Contestant) -> tuple[Array, Array] | None:
    """Of each side's responses, averaged over its runs; None where something has no length."""
    sides = [np.stack([r.lengths for r in c.results]) for c in (a, b)]
    if any(bool((side <= 0).any()) for side in sides):
        return None
    first, second = (np.log(side).mean(0) for side in sides)
    return first, second
