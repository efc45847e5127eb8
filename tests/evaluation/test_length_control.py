"""Differences at equal length, against statsmodels' HC3 and where the truth is known."""

import numpy as np
import pytest
import statsmodels.api as sm

from gemma_align.evaluation.length_control import at_equal_length, length_ratio, noticeable


def test_it_is_the_intercept_of_statsmodels_with_hc3():
    rng = np.random.default_rng(0)
    x = rng.normal(0.3, 0.4, 80)
    y = 0.1 + 0.2 * x + rng.normal(0, 0.1 + 0.2 * np.abs(x), 80)
    fit = sm.OLS(y, sm.add_constant(x)).fit(cov_type="HC3", use_t=True)
    found = at_equal_length(y, x, 0.9)
    low, high = fit.conf_int(0.1)[0]
    assert (found.difference.mean, found.slope) == pytest.approx(tuple(fit.params))
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high))
    assert found.difference.p == pytest.approx(fit.pvalues[0])
    assert found.difference.error == pytest.approx(fit.bse[0])


def test_a_measure_that_only_rewards_length_has_no_difference_left():
    rng = np.random.default_rng(1)
    log_ratios = rng.normal(0.4, 0.5, 300)
    only_length = 0.2 * log_ratios + rng.normal(0, 0.05, 300)
    found = at_equal_length(only_length, log_ratios)
    assert only_length.mean() > 0.06
    assert not found.difference.excludes_zero
    better = at_equal_length(only_length + 0.1, log_ratios)
    assert better.difference.mean == pytest.approx(0.1, abs=0.02)
    assert better.difference.excludes_zero


def test_swapping_the_models_flips_the_sign():
    rng = np.random.default_rng(2)
    x, y = rng.normal(0.3, 0.4, 50), rng.normal(0.1, 1, 50)
    found, swapped = at_equal_length(y, x), at_equal_length(-y, -x)
    assert swapped.difference.mean == pytest.approx(-found.difference.mean)
    assert swapped.difference.low == pytest.approx(-found.difference.high)
    assert swapped.slope == pytest.approx(found.slope)


def test_where_all_responses_are_longer_equal_length_lies_outside_the_data():
    rng = np.random.default_rng(3)
    y = rng.normal(0, 1, 60)
    assert at_equal_length(y, rng.uniform(0.5, 1.5, 60)).extrapolated
    assert not at_equal_length(y, rng.uniform(-0.5, 1.5, 60)).extrapolated
    mostly_equal = np.where(np.arange(60) < 40, 0.0, 0.7)
    assert not at_equal_length(y, mostly_equal).extrapolated


@pytest.mark.parametrize(
    ("y", "x"),
    [
        (np.arange(5.0), np.arange(5.0)),  # too few
        (np.arange(20.0), np.zeros(20)),  # lengths never differ
        (np.full(20, 0.5), np.arange(20.0)),  # the measure never differs
        (np.arange(20.0), np.eye(20)[3]),  # one example alone has another length
    ],
)
def test_what_has_no_line_is_left_out(y, x):
    assert at_equal_length(y, x) is None


def test_lengths_are_compared_as_a_ratio():
    a, b = np.array([10.0, 40.0] * 20), np.array([20.0, 20.0] * 20)
    found = length_ratio(a, b)
    assert found.mean == pytest.approx(1.0)  # half and double cancel
    assert not noticeable(found)
    twice = length_ratio(2 * b + np.arange(40), b)
    assert twice.mean > 2
    assert noticeable(twice)
    assert not noticeable(length_ratio(1.04 * b + np.arange(40) / 100, b))  # different, but not by 5 %
