"""Holm's correction and the smallest effect, against statsmodels and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from gemma_align.evaluation.multiplicity import holm, level_left, smallest_effect

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=25)


def test_holm_by_hand():
    # sorted 0.01, 0.02, 0.03: times 3, 2, 1, never falling
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("num", [1, 2, 7, 40])
def test_holm_is_statsmodels(num):
    p = np.round(np.random.default_rng(num).random(num) ** 3, 2)  # with ties
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(P_VALUES, st.randoms())
def test_holm_keeps_the_order_and_never_lowers_a_p(p, random):
    order = list(range(len(p)))
    random.shuffle(order)
    corrected = holm(p)
    np.testing.assert_allclose(holm([p[i] for i in order]), corrected[order], atol=1e-12)
    assert (corrected >= np.asarray(p) - 1e-15).all()


def test_holm_corrects_each_table_by_itself():
    tables = np.array([[0.01, 0.04], [0.5, 0.001]])
    np.testing.assert_allclose(holm(tables), [holm(tables[0]), holm(tables[1])])


@pytest.mark.parametrize("p", [[0.5, float("nan")], [-0.1], [1.1]])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(p)


def test_the_level_left_is_what_the_first_failure_had_to_pass():
    assert level_left([0.2, 0.9, 0.4], 0.05) == pytest.approx(0.05 / 3)
    assert level_left([0.01, 0.9, 0.4], 0.05) == pytest.approx(0.05 / 2)
    assert level_left([0.01], 0.05) == pytest.approx(0.05)


@pytest.mark.parametrize(("n", "alpha"), [(200, 0.05), (150, 0.05 / 18), (12, 0.05), (4, 0.01)])
def test_smallest_effect_is_the_t_tests(n, alpha):
    error = 1 / n  # of a standard deviation of 1 / sqrt(n)
    found = smallest_effect(error, stats.t.ppf(1 - alpha / 2, n - 1) * error, n - 1)
    power = TTestPower().power(found * np.sqrt(n), n, alpha)  # its solve_power stops early at few observations
    assert power == pytest.approx(0.8, abs=0.001)


def test_a_smaller_effect_is_found_with_less_power():
    assert smallest_effect(1.0, 2.0, 50, power=0.5) < smallest_effect(1.0, 2.0, 50, power=0.8)
    assert smallest_effect(2.0, 4.0, 50) == pytest.approx(2 * smallest_effect(1.0, 2.0, 50))
