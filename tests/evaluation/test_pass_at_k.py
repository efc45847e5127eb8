"""pass@k against the sum over all draws."""

from itertools import combinations

import pytest

from gemma_align.evaluation.pass_at_k import ks, pass_at_k


@pytest.mark.parametrize(("n", "c"), [(1, 0), (1, 1), (4, 0), (4, 1), (5, 2), (6, 6)])
def test_against_every_draw(n, c):
    for k in range(1, n + 1):
        draws = [any(i < c for i in draw) for draw in combinations(range(n), k)]
        assert pass_at_k(n, c, k) == pytest.approx(sum(draws) / len(draws))


def test_by_hand():
    assert pass_at_k(8, 1, 8) == 1.0
    assert pass_at_k(8, 1, 1) == pytest.approx(1 / 8)
    assert pass_at_k(200, 3, 100) == pytest.approx(1 - (100 * 99 * 98) / (200 * 199 * 198))


@pytest.mark.parametrize("wrong", [(2, 3, 1), (2, -1, 1), (2, 1, 3), (2, 1, 0)])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="wants"):
        pass_at_k(*wrong)


def test_ks():
    assert ks(1) == [1]
    assert ks(8) == [1, 2, 4, 8]
    assert ks(10) == [1, 2, 4, 8, 10]
