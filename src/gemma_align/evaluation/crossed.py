"""Statements about methods: would it come out like this again with other training seeds and other examples?

Design: S seeds of a method are evaluated on the same n examples. Examples are crossed with seeds and with methods, so
differences are paired by example; seeds are nested in a method: seed 2 of one has nothing in common with seed 2 of
another. Where it has, because both went on from one SFT policy, `contrast` takes the differences of the runs alone.
With y[m, s, i] = method mean + example effect of the method + seed effect + interaction (and noise), the variance of
the difference of two method means is

    sum over methods of var(seed) / S   +   var(difference of example effects) / n   +   sum of var(interaction) / (S n)

and it is estimated without counting the interaction twice, from the mean squares of the two-way table of each method
(Cornfield and Tukey 1956, Ann. Math. Stat. 27; Brennan 2001, Generalizability Theory, ch. 6):

    seeds     V_m = variance of the S seed means / S                holds var(seed) / S + var(interaction) / (S n)
    examples  X   = variance of the seed-averaged differences / n   holds var(examples) / n + interaction of both
    doubled   I_m = interaction mean square / (S n)
    error^2   = sum V_m + E,   E = max(0, X - sum I_m)

Three or five seeds make V uncertain, and a normal quantile would be far too short. The half width at level alpha is

    half^2 = t(nu)^2 sum V_m + t(n - 1)^2 E,   at least   t(n - 1)^2 X

each part with its own t quantile (after Banerjee 1961, Sankhya A 23), nu being Welch's degrees of freedom of the seed
part alone (Welch 1947, Biometrika 34). Satterthwaite's one number for the whole error makes it too short at few seeds;
docs/statistics.md has both, by simulation. A method of one seed has no V: it is refused.

Arrays may have leading dimensions: (..., S, n) in, (...) out, so that simulations run at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from gemma_align.evaluation.statistics import Interval

Array = NDArray[np.float64]

BISECTIONS = 60
LEAST_LOG_P = -60.0


class OneSeedError(ValueError):
    """One seed says nothing about how far another would have come out."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """A difference of two methods' means, or one method's mean, with the parts of its variance; all of shape (...).

    seeds         sum of V_m
    seeds_df      Welch's degrees of freedom of that sum; 1 where it is 0
    examples      E, the examples' part that the seeds' part doesn't hold yet
    examples_all  X
    examples_df   n - 1
    """

    difference: Array
    seeds: Array
    seeds_df: Array
    examples: Array
    examples_all: Array
    examples_df: int

    @property
    def error(self) -> Array:
        """Standard error."""
        return np.sqrt(np.maximum(self.seeds + self.examples, self.examples_all))

    @property
    def seed_share(self) -> Array:
        """Share of the squared error that is the seeds', 0 to 1: more examples can't lower it. 0 without an error."""
        total = self.seeds + self.examples
        return np.divide(self.seeds, total, out=np.zeros_like(total), where=total > 0)

    def half_width(self, alpha: float | Array) -> Array:
        """Half the width of the interval of confidence 1 - alpha."""
        lower = np.asarray(alpha, dtype=np.float64) / 2  # the lower quantile: 1 - alpha / 2 would round to 1
        t_seeds, t_examples = stdtrit(self.seeds_df, lower), stdtrit(float(self.examples_df), lower)
        parts = t_seeds**2 * self.seeds + t_examples**2 * self.examples
        return np.sqrt(np.maximum(parts, t_examples**2 * self.examples_all))

    def p_value(self) -> Array:
        """The smallest alpha at which the interval leaves 0 out; 1 where nothing varies."""
        far = np.abs(self.difference)
        # log alpha: the half width falls as alpha grows
        low, high = np.full(far.shape, LEAST_LOG_P), np.zeros(far.shape)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            inside = self.half_width(np.exp(middle)) >= far
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        return np.where(self.error > 0, np.exp(high), 1.0)

    def satterthwaite_df(self) -> Array:
        """Of the whole error, for power; not used for intervals."""
        total = self.seeds + self.examples
        spread = self.seeds**2 / self.seeds_df + self.examples**2 / self.examples_df
        return np.divide(total**2, spread, out=np.ones_like(total), where=spread > 0)


def contrast(a: Array, b: Array | None = None, *, a_trained: bool = True, b_trained: bool = True) -> Contrast:
    """Mean of a - mean of b, or the mean of a alone.

    Args:
        a: values (..., S, n): S seeds, n examples.
        b: values (..., S', n) of the same examples in the same order; None: a alone.
        a_trained: False for one given model, such as the base, that no seed has a part in; S is 1 then.
        b_trained: the same of b.

    Raises:
        OneSeedError: a trained side has one seed.
        ValueError: other numbers of examples, or fewer than two.
    """
    n = a.shape[-1]
    if n < 2 or (b is not None and b.shape[-1] != n):
        raise ValueError(
            f"Methods need the same examples, at least two; got {n}{'' if b is None else f' and {b.shape[-1]}'}"
        )
    sides = [(a, a_trained)] + ([] if b is None else [(b, b_trained)])
    parts = [_parts(values, trained) for values, trained in sides]
    each = a.mean(-2) if b is None else a.mean(-2) - b.mean(-2)
    examples_all = each.var(-1, ddof=1) / n
    seeds = sum((v for v, _, _ in parts), np.zeros(each.shape[:-1]))
    doubled = sum((i for _, i, _ in parts), np.zeros(each.shape[:-1]))
    spread = sum((v**2 / df for v, _, df in parts), np.zeros(each.shape[:-1]))
    return Contrast(
        difference=each.mean(-1),
        seeds=seeds,
        seeds_df=np.divide(seeds**2, spread, out=np.ones_like(seeds), where=spread > 0),
        examples=np.maximum(examples_all - doubled, 0.0),
        examples_all=examples_all,
        examples_df=n - 1,
    )


def interval(found: Contrast, confidence: float = 0.95) -> Interval:
    """Of one contrast, with its p-value and error; without ends where nothing varies."""
    mean, error, n = float(found.difference), float(found.error), found.examples_df + 1
    if error <= 1e-12 * abs(mean) or error == 0:
        return Interval(mean, None, None, n)
    half = float(found.half_width(1 - confidence))
    return Interval(mean, mean - half, mean + half, n, float(found.p_value()), error)


def linearised(numerators: Array, denominators: Array) -> Array:
    """Values (S, n) whose mean over examples is each seed's sum(numerators) / sum(denominators), and whose spread over
    examples is that ratio's, to first order; numerators (S, n), denominators (n,) shared by all seeds."""
    ratio = numerators.sum(-1, keepdims=True) / denominators.sum()
    return ratio + (numerators - ratio * denominators) / denominators.mean()


def _parts(values: Array, trained: bool) -> tuple[Array, Array, int]:
    """V_m, I_m and the degrees of freedom of V_m."""
    num_seeds, n = values.shape[-2:]
    if not trained:
        assert num_seeds == 1, "a model without training seeds is one model"
        zero = np.zeros(values.shape[:-2])
        return zero, zero, 1
    if num_seeds < 2:
        raise OneSeedError(
            "one training seed shows nothing about the method: how far another seed would have come out is unknown"
        )
    means = values.mean(-1)
    residual = values - means[..., None] - values.mean(-2, keepdims=True) + means.mean(-1)[..., None, None]
    interaction = (residual**2).sum((-2, -1)) / ((num_seeds - 1) * (n - 1))
    return means.var(-1, ddof=1) / num_seeds, interaction / (num_seeds * n), num_seeds - 1
