import itertools
import math

import numpy as np
import pytest

from gemma_align.core.best_of_n import best_of_n, kl_bound


def by_all_subsets(proxy, values, n):
    """Slow and obvious: the mean over all subsets; of equal proxies each is chosen equally often."""
    found = []
    for chosen in itertools.combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in chosen)
        found.append(np.mean([values[i] for i in chosen if proxy[i] == top]))
    return np.mean(found)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_against_all_subsets(n):
    rng = np.random.default_rng(n)
    proxy, values = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    expected = [by_all_subsets(p, v, n) for p, v in zip(proxy, values, strict=True)]
    assert best_of_n(proxy, values, n) == pytest.approx(expected)


def test_equal_proxies_are_shared_by_hand():
    """Two of three: {a, b} tie at 1, c is lower. Subsets ab -> mean, ac -> a, bc -> b."""
    proxy, values = np.array([[1.0, 1.0, 0.0]]), np.array([[4.0, 8.0, 100.0]])
    assert best_of_n(proxy, values, 2) == pytest.approx([(6 + 4 + 8) / 3])
    assert best_of_n(proxy, values, 3) == pytest.approx([6.0])


def test_order_of_samples_does_not_matter():
    proxy, values = np.array([[2.0, 2.0, 1.0, 3.0]]), np.array([[1.0, 5.0, 7.0, 9.0]])
    for order in itertools.permutations(range(4)):
        assert best_of_n(proxy[:, order], values[:, order], 2) == pytest.approx(best_of_n(proxy, values, 2))


def test_one_is_the_mean_and_all_is_the_maximum():
    proxy = np.array([[0.1, 0.9, 0.5]])
    assert best_of_n(proxy, proxy, 1) == pytest.approx([0.5])
    assert best_of_n(proxy, proxy, 3) == pytest.approx([0.9])


def test_kl_bound_by_hand_and_by_simulation():
    assert kl_bound(1) == 0
    assert kl_bound(4) == pytest.approx(math.log(4) - 0.75)
    # With uniform scores the best of n has density n x^(n-1): its KL to the uniform one by quadrature
    x = (np.arange(200_000) + 0.5) / 200_000
    density = 4 * x**3
    assert kl_bound(4) == pytest.approx(np.mean(density * np.log(density)), abs=1e-4)


@pytest.mark.parametrize("n", [0, 4])
def test_n_out_of_range(n):
    with pytest.raises(ValueError, match=r"1 to the 3 samples"):
        best_of_n(np.zeros((1, 3)), np.zeros((1, 3)), n)
