"""How a reward is over-optimised: its gold measure against the distance from where the policy started.

With d = sqrt(KL to the start policy, nats a response) and R the gain in the gold measure since the start, R(0) = 0:

    reinforcement learning   R(d) = d (a - b ln d)     peak at d = exp(a / b - 1)
    best-of-n                R(d) = d (a - b d)        peak at d = a / (2 b)

(Gao et al. 2022, arXiv 2210.10760.) Both are linear in a and b, so they are fitted by least squares, and the fit of a
mean over examples is the mean of the examples' fits: where the gains of every example are known, intervals are over
examples (`fit_examples`); else they are over what the curve leaves of the points, as if those were independent (`fit`).
A peak is told only where b is above 0 with confidence and the curve was followed past the peak; "none found" is an
answer. `stop_without_gold` is the step that a rule which never sees the gold measure would have chosen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gemma_align.evaluation.statistics import mean_interval

Law = Literal["rl", "best_of_n"]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """A curve through the points.

    a, b       coefficients; each with its confidence interval
    residual   root mean square of what the curve leaves over, in units of R
    peak       d where the fitted curve is highest; None where no peak was found
    peak_value R there
    num_points fitted
    max_d      the farthest point: beyond it everything is extrapolated
    """

    law: Law
    a: float
    b: float
    a_interval: tuple[float, float]
    b_interval: tuple[float, float]
    residual: float
    peak: float | None
    peak_value: float | None
    num_points: int
    max_d: float

    def __call__(self, d: Array) -> Array:
        """R at distances d >= 0."""
        return _columns(np.asarray(d, dtype=np.float64), self.law) @ np.array([self.a, self.b])


def fit(d: Sequence[float], gain: Sequence[float], law: Law, confidence: float = 0.95) -> Fit:
    """Least squares through (d, gain), with R(0) = 0.

    Args:
        d: distances, at least 0, in any order. Points at 0 say nothing, and are left out.
        gain: gold measure less its value at the start.
        law: see above.
        confidence: of the intervals.

    Raises:
        ValueError: fewer than 3 different distances above 0, or a number that is negative or not finite.
    """
    x, y = _points(d, np.asarray(gain, dtype=np.float64)[None])
    solve, design = _solver(x, law)
    coefficients = solve @ y[0]
    left = y[0] - design @ coefficients
    degrees = len(x) - 2
    variance = float(left @ left) / degrees if degrees else math.inf
    errors = np.sqrt(np.diag(solve @ solve.T) * variance)
    half = stats.t.ppf((1 + confidence) / 2, degrees) * errors
    intervals = [(float(c - h), float(c + h)) for c, h in zip(coefficients, half, strict=True)]
    return _made(x, y[0], coefficients, intervals, law)


def fit_examples(d: Sequence[float], gains: Array, law: Law, confidence: float = 0.95) -> Fit:
    """The fit of the mean over examples, with intervals over examples (`statistics.mean_interval`).

    Args:
        d: distances of the points.
        gains: (examples, points) gold measure of an example less its value at the start; examples are independent,
            the points of one need not be.
        law: see above.
        confidence: of the intervals.

    Raises:
        ValueError: as in `fit`.
    """
    x, y = _points(d, np.asarray(gains, dtype=np.float64))
    solve, _ = _solver(x, law)
    each = y @ solve.T
    found = [mean_interval(column, confidence) for column in each.T]
    intervals = [(-math.inf, math.inf) if i.low is None or i.high is None else (i.low, i.high) for i in found]
    return _made(x, y.mean(axis=0), each.mean(axis=0), intervals, law)


def _points(d: Sequence[float], gains: Array) -> tuple[Array, Array]:
    """Distances above 0 and the gains there, (examples, points), checked."""
    x = np.asarray(d, dtype=np.float64)
    finite = bool(np.isfinite(x).all() and np.isfinite(gains).all())
    if x.ndim != 1 or gains.ndim != 2 or gains.shape[1] != len(x) or not finite or bool((x < 0).any()):
        raise ValueError("a curve: as many finite gains as finite distances of at least 0 were wanted")
    gains, x = gains[:, x > 0], x[x > 0]
    if len(np.unique(x)) < 3:
        raise ValueError(f"a curve: at least 3 different distances above 0 were wanted, given {len(np.unique(x))}")
    return x, gains


def _solver(x: Array, law: Law) -> tuple[Array, Array]:
    """(2, points) from gains to least-squares coefficients, and (points, 2) back."""
    design = _columns(x, law)
    return np.asarray(np.linalg.pinv(design), dtype=np.float64), design


def _made(x: Array, y: Array, coefficients: Array, intervals: Sequence[tuple[float, float]], law: Law) -> Fit:
    a, b = (float(c) for c in coefficients)
    where = _peak(a, b, law) if intervals[1][0] > 0 and a > 0 else None
    if where is not None and where > x.max():
        where = None  # not reached: what lies beyond the last point was not measured
    return Fit(
        law=law,
        a=a,
        b=b,
        a_interval=intervals[0],
        b_interval=intervals[1],
        residual=float(np.sqrt(np.mean((y - _columns(x, law) @ coefficients) ** 2))),
        peak=where,
        peak_value=None if where is None else float(_columns(np.array([where]), law)[0] @ coefficients),
        num_points=len(x),
        max_d=float(x.max()),
    )


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a run would have been stopped, as an index of the points, and what that cost against the best point."""

    index: int
    gold: float
    best_gold: float

    @property
    def lost(self) -> float:
        """Gold measure given away."""
        return self.best_gold - self.gold


def at_proxy_maximum(proxy: Sequence[float], gold: Sequence[float]) -> Stop:
    """The point with the highest proxy, the first of equals: what a user without a gold measure would keep."""
    index = int(np.argmax(np.asarray(proxy)))
    return Stop(index, float(gold[index]), float(max(gold)))


def stop_without_gold(
    proxy: Sequence[float], gold: Sequence[float], violations: Sequence[float], kl: Sequence[float], *, max_kl: float
) -> Stop:
    """The last point before constraint violations rise over their start or KL passes `max_kl`; the highest proxy of
    those up to there. Sees no gold measure.

    Args:
        proxy: by point, in the order of training.
        gold: only to tell what the choice cost.
        violations: share of answers that violate a constraint, by point.
        kl: nats a response to the start policy, by point.
        max_kl: distance that isn't trusted any more.
    """
    allowed = 1
    while allowed < len(proxy) and kl[allowed] <= max_kl and violations[allowed] <= violations[0]:
        allowed += 1
    index = int(np.argmax(np.asarray(proxy[:allowed])))
    return Stop(index, float(gold[index]), float(max(gold)))


def _columns(d: Array, law: Law) -> Array:
    second = d * np.log(np.where(d > 0, d, 1.0)) if law == "rl" else d * d
    return np.stack([d, -second], axis=1)


def _peak(a: float, b: float, law: Law) -> float:
    return math.exp(a / b - 1) if law == "rl" else a / (2 * b)
