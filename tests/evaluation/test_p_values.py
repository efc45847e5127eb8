"""p-values that come with intervals: scipy's where it has them, and always on the interval's side."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gemma_align.evaluation import statistics
from gemma_align.evaluation.statistics import mean_interval, paired_interval, ratio_interval


def test_few_values_give_the_p_of_students_t():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.4, 1, 20), rng.normal(0, 1, 20)
    found = paired_interval(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.error == pytest.approx(stats.sem(a - b))


def test_many_values_give_a_p_close_to_students_t_where_they_are_normal():
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.1, 0.2, 0.3):
        x = rng.normal(shift, 1, 200)
        assert mean_interval(x).p == pytest.approx(stats.ttest_1samp(x, 0).pvalue, rel=0.15, abs=2e-3)


def test_skewed_values_give_the_p_at_which_scipys_bca_interval_ends_at_zero():
    x = np.random.default_rng(11).exponential(1, 60)
    x = x / x.mean() - 1.3  # on this side BCa is the stricter
    p = mean_interval(x, seed=3).p
    for confidence, inside in ((1 - 0.9 * p, True), (1 - 1.1 * p, False)):
        found = stats.bootstrap(
            (x,), np.mean, n_resamples=9_999, confidence_level=confidence, rng=np.random.default_rng(3), batch=100
        ).confidence_interval
        assert bool(found.low <= 0 <= found.high) is inside
    assert p > 1.1 * stats.ttest_1samp(x, 0).pvalue


def test_the_bootstraps_p_is_never_below_students_t():
    rng = np.random.default_rng(3)
    far = rng.normal(1.0, 1, 100)  # no resample crosses zero
    assert mean_interval(far).p == pytest.approx(stats.ttest_1samp(far, 0).pvalue)
    assert mean_interval(far).p < 1e-9
    one_odd = np.concatenate([np.full(99, 0.01), [2.0]])  # every resample is above zero, and t says p = 0.13
    assert (
        mean_interval(one_odd).p == pytest.approx(stats.ttest_1samp(one_odd, 0).pvalue) == pytest.approx(0.13, abs=0.01)
    )


def test_paired_shares_by_hand():
    # 6 won, 1 lost of 20: z = (7 - 2) / 22 / sqrt((9 / 22 - (5 / 22)^2) / 22)
    a = [1.0] * 6 + [0.0] * 1 + [1.0] * 5 + [0.0] * 8
    b = [0.0] * 6 + [1.0] * 1 + [1.0] * 5 + [0.0] * 8
    z = 5 / 22 / math.sqrt((9 / 22 - (5 / 22) ** 2) / 22)
    assert paired_interval(a, b).p == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_a_ratio_of_equal_denominators_has_the_means_p():
    x = np.random.default_rng(4).normal(0.1, 1, 50)
    assert ratio_interval(2 * x, np.full(50, 2.0)).p == pytest.approx(mean_interval(x).p)


def test_what_has_no_interval_has_no_p():
    assert mean_interval([0.3, 0.3]).p is None
    assert mean_interval([1.0, 0.0]).p is None  # a share: nobody asks whether it is zero
    assert paired_interval([2.0], [1.0]).p is None


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from([12, 45]), st.sampled_from(["normal", "skewed", "ones"]), st.floats(0, 0.6)
)
def test_p_and_interval_agree_and_swapping_sides_flips_the_sign(seed, n, kind, shift):
    rng = np.random.default_rng(seed)
    b = rng.exponential(1, n) if kind == "skewed" else rng.normal(0, 1, n)
    a = rng.normal(shift, 1, n)
    if kind == "ones":
        a, b = (a > 0).astype(float), (b > 0).astype(float)
    found, swapped = paired_interval(a, b), paired_interval(b, a)
    assert swapped.mean == -found.mean
    assert swapped.p == pytest.approx(found.p, rel=1e-9)
    if found.p is not None and found.p < 0.048:  # scipy interpolates between resamples, counting doesn't
        assert found.excludes_zero
    if found.p is not None and found.p > 0.052 and n < statistics.MIN_BOOTSTRAP:
        assert not found.excludes_zero
