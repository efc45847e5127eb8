"""pass@k from n samples (Chen et al. 2021, equation 1)."""

from math import comb


def pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """The chance that at least one of k samples passes, drawn without replacement from n of which c pass.

    1 - C(n - c, k) / C(n, k); unbiased in the sampling, unlike 1 - (1 - c/n)^k.

    Raises:
        ValueError: not 0 <= c <= n or not 1 <= k <= n.
    """
    if not 0 <= num_passed <= num_samples or not 1 <= k <= num_samples:
        raise ValueError(
            f"pass@k wants 0 <= passed <= samples and 1 <= k <= samples, given {num_passed}, {num_samples}, k={k}"
        )
    return 1.0 - comb(num_samples - num_passed, k) / comb(num_samples, k)


def ks(num_samples: int) -> list[int]:
    """The k that are reported for n samples: the powers of two, and n."""
    return sorted({2**i for i in range(num_samples.bit_length()) if 2**i <= num_samples} | {num_samples})
