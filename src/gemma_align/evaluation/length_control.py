"""A difference at equal length: how much of it is left when longer responses are not rewarded for being long.

Paired differences of a measure are regressed on paired differences of the log of response length,

    y_a,i - y_b,i = alpha + beta (log l_a,i - log l_b,i) + noise,

and alpha, the difference where both responses are equally long, is the length-controlled difference: the idea of
length-controlled AlpacaEval (Dubois et al. 2024, arXiv 2404.04475), with a line in place of its logistic model because
measures here are numbers and not preferences. Its interval is Student's t with HC3 errors (MacKinnon and White 1985,
J. Econometrics 29), which don't assume that the noise is equally large at all lengths.

What it can't do: length is part of what training changed, so alpha is not what a model would score if it were made to
write shorter; a relation that is no line stays uncontrolled; and where hardly any pair has equal lengths, alpha lies
outside the data (`extrapolated`). It speaks of the given runs, not of methods.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gemma_align.evaluation.statistics import Interval, mean_interval

Array = NDArray[np.float64]

NOTICEABLE = 0.05  # lengths that differ by less are called equal
MIN_EXAMPLES = 10
INSIDE = 0.05  # share of pairs that must lie on either side of equal length


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A difference at equal length.

    difference    alpha, with its interval
    slope         beta: what the measure gains from a response e times as long
    extrapolated  fewer than 5 % of the pairs lie on one side of equal length
    """

    difference: Interval
    slope: float
    extrapolated: bool


def length_ratio(a: Array, b: Array, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Geometric mean over examples of length a / length b, with its interval. Lengths (n,), at least 1 each."""
    found = mean_interval(np.log(a) - np.log(b), confidence, seed)
    low, high = (None if end is None else float(np.exp(end)) for end in (found.low, found.high))
    return Interval(float(np.exp(found.mean)), low, high, found.n, found.p, found.error)


def noticeable(ratio: Interval) -> bool:
    """Lengths differ by 5 % or more, and not by chance."""
    by_chance = ratio.low is not None and ratio.high is not None and ratio.low <= 1 <= ratio.high
    return abs(np.log(ratio.mean)) >= np.log(1 + NOTICEABLE) and not by_chance


def at_equal_length(differences: Array, log_ratios: Array, confidence: float = 0.95) -> LengthControlled | None:
    """alpha of the regression above; None with fewer than 10 examples, or where it has no line to fit.

    Args:
        differences: (n,) of the measure, paired.
        log_ratios: (n,) log of length a / length b.
        confidence: of the interval.
    """
    n = len(differences)
    if n < MIN_EXAMPLES or np.ptp(log_ratios) < 1e-9 or np.ptp(differences) < 1e-12:
        return None
    x = np.column_stack([np.ones(n), log_ratios])
    inverse = np.linalg.inv(x.T @ x)
    coefficients = inverse @ x.T @ differences
    leverage = ((x @ inverse) * x).sum(1)
    if leverage.max() > 1 - 1e-9:  # one example alone has another length: the line goes through it, whatever it is
        return None
    residuals = (differences - x @ coefficients) / (1 - leverage)
    covariance = inverse @ (x.T * residuals**2) @ x @ inverse
    error = float(np.sqrt(covariance[0, 0]))
    alpha, below = float(coefficients[0]), float((log_ratios < 0).mean())
    above = float((log_ratios > 0).mean())
    equal = 1 - below - above
    outside = equal < INSIDE and min(below, above) < INSIDE
    if error < 1e-12:
        return LengthControlled(Interval(alpha, None, None, n), float(coefficients[1]), outside)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 2)) * error
    p = float(2 * stats.t.sf(abs(alpha) / error, n - 2))
    return LengthControlled(Interval(alpha, alpha - half, alpha + half, n, p, error), float(coefficients[1]), outside)
