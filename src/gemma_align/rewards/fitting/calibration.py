"""Whether "it is better with probability p" is true in a share p of the pairs.

A pair's two orders are one observation: it is told in the order in which the encoder sees a winner, so p lies between
one half and one, and the observed share is the accuracy of such pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

Array = NDArray[np.float64]

EDGES = (0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs whose predicted probability lies in [low, high)."""

    low: float
    high: float
    num_pairs: int
    predicted: float  # mean probability of the response that scores higher
    observed: float  # share of pairs in which it was the chosen one


def right(differences: Array) -> Array:
    """1 where the chosen response scores higher, 1/2 where both score the same (a coin toss), else 0."""
    return np.where(differences == 0, 0.5, (differences > 0).astype(np.float64))


def fit_slope(differences: Array) -> float:
    """The a > 0 that maximises the likelihood of P(chosen wins) = s(a * difference), within 0.01 … 100."""

    def loss(log_slope: float) -> float:
        return float(np.logaddexp(0.0, -np.exp(log_slope) * differences).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.01), np.log(100.0)), method="bounded").x))


def reliability(differences: Array, slope: float) -> list[Bin]:
    """The calibration curve of pairs with these score differences (chosen - rejected); empty bins are left out.

    A difference of 0 has p = 1/2, and is half right.
    """
    predicted = expit(slope * np.abs(differences))
    found = right(differences)
    place = np.clip(np.searchsorted(EDGES, predicted, side="right") - 1, 0, len(EDGES) - 2)
    return [
        Bin(
            EDGES[i],
            EDGES[i + 1],
            int((place == i).sum()),
            float(predicted[place == i].mean()),
            float(found[place == i].mean()),
        )
        for i in range(len(EDGES) - 1)
        if (place == i).any()
    ]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Mean distance of predicted and observed, weighted by pairs (Naeini et al. 2015).

    Bins of few pairs lie off the diagonal by chance, so a perfect encoder has an error above 0 too.
    """
    total = sum(b.num_pairs for b in bins)
    return sum(b.num_pairs * abs(b.predicted - b.observed) for b in bins) / total
