"""Best-of-n sampling as a policy of its own: what it would score, and how far it is from the policy it samples from.

Choosing the best of n by a proxy optimises the proxy without training, so it shows how a reward is over-optimised
before a run is begun.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def kl_bound(n: int) -> float:
    """ln n - (n - 1) / n nats: the most that best-of-n can diverge from its sampler.

    Exact where no two responses are equally likely to be equal (Stiennon et al. 2020, appendix G.3); an upper bound
    always (Beirami et al. 2024, arXiv 2401.01879).
    """
    if n < 1:
        raise ValueError(f"best-of-n: n of at least 1 was wanted, given {n}")
    return math.log(n) - (n - 1) / n


def best_of_n(proxy: Array, values: Array, n: int) -> Array:
    """The expected value of the response that the proxy chooses among n of the S samples of each prompt.

    Unbiased, with less variance than drawing n once: every subset of n counts (Nakano et al. 2021, appendix I). With
    the samples sorted by the proxy, number i (from 1) is the best of C(i - 1, n - 1) of the C(S, n) subsets. Samples
    with equal proxies share their places.

    Args:
        proxy: (P, S) what chooses.
        values: (P, S) what is told of the chosen one; the proxy itself, or a gold measure.
        n: 1 to S.

    Returns:
        (P,)

    Raises:
        ValueError: n is out of range, or the shapes differ.
    """
    if proxy.shape != values.shape or proxy.ndim != 2:
        raise ValueError(f"best-of-n: two arrays (prompts, samples) were wanted, given {proxy.shape}, {values.shape}")
    if not 1 <= n <= proxy.shape[1]:
        raise ValueError(f"best-of-n: n from 1 to the {proxy.shape[1]} samples was wanted, given {n}")
    weights = np.asarray(_weights(proxy.shape[1], n))
    return np.array([_expected(p, v, weights) for p, v in zip(proxy, values, strict=True)])


def _expected(proxy: Array, values: Array, weights: Array) -> float:
    order = np.argsort(proxy, kind="stable")
    _, place, counts = np.unique(proxy[order], return_inverse=True, return_counts=True)
    shared = np.bincount(place, weights=weights) / counts
    return float(shared[place] @ values[order])


@cache
def _weights(num_samples: int, n: int) -> tuple[float, ...]:
    """C(i - 1, n - 1) / C(S, n) for i = 1 … S."""
    return tuple(math.comb(i, n - 1) / math.comb(num_samples, n) for i in range(num_samples))
