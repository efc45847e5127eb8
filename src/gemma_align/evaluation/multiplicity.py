"""Many differences in one table: corrected p-values, and the smallest difference that could have been seen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtr

Array = NDArray[np.float64]

_GRID = 2_000  # equally likely values of the estimated error
_BISECTIONS = 50


def holm(p_values: Sequence[float] | Array) -> Array:
    """Corrected p-values, in the given order: the chance of any false winner in the table stays at most alpha where
    those with a corrected p of at most alpha are named (Holm 1979, Scand. J. Stat. 6), however the tests hang together.

    (m,) in, (m,) out; leading dimensions are tables of their own. Raises `ValueError` for what is no p-value.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not bool(((p >= 0) & (p <= 1)).all()):  # NaN too
        raise ValueError(f"p-values lie between 0 and 1; got {p}")
    order = np.argsort(p, axis=-1, kind="stable")
    stepped = np.take_along_axis(p, order, -1) * np.arange(p.shape[-1], 0, -1)
    corrected = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    out = np.empty_like(p)
    np.put_along_axis(out, order, corrected, -1)
    return out


def level_left(corrected: Sequence[float] | Array, alpha: float) -> float:
    """The level at which Holm's procedure stopped: what a difference that wasn't found would have had to pass.

    alpha / (number of tests - number found); alpha where all were found.
    """
    p = np.asarray(corrected, dtype=np.float64)
    return alpha / max(1, len(p) - int((p <= alpha).sum()))


def smallest_effect(error: float, half_width: float, df: float, power: float = 0.8) -> float:
    """The true difference that is found with this power, had it the error that was measured.

    Found means that the estimate lies further from 0 than the half width, which varies with the error's estimate:
    that has a chi-square distribution (as in the power of Student's t test, scipy's noncentral t).

    Args:
        error: standard error of the difference, positive.
        half_width: of the interval at the level that decides.
        df: degrees of freedom of the error.
        power: between 0 and 1.
    """
    quantiles = (np.arange(_GRID) + 0.5) / _GRID
    threshold = half_width / error * np.sqrt(chdtri(df, quantiles) / df)
    low, high = 0.0, 2 * float(threshold.max()) + 10
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        found = float((ndtr(middle - threshold) + ndtr(-middle - threshold)).mean())
        low, high = (middle, high) if found < power else (low, middle)
    return high * error
