"""Intervals: known values, scipy's, the rule's borders, and coverage by simulation."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from gemma_align.evaluation.statistics import Interval, mean_interval, paired_interval, ratio_interval


def test_shares_take_wilson_by_hand():
    # 8 of 10 at 95 %: centre (8 + z^2/2) / (10 + z^2), half z sqrt(8 * 2 / 10 + z^2 / 4) / (10 + z^2), z = 1.959964
    z = 1.959964
    centre, half = (8 + z**2 / 2) / (10 + z**2), z * math.sqrt(8 * 2 / 10 + z**2 / 4) / (10 + z**2)
    found = mean_interval([1.0] * 8 + [0.0] * 2)
    assert (found.mean, found.n) == (0.8, 10)
    assert found.low == pytest.approx(centre - half, abs=1e-6) == pytest.approx(0.49016, abs=1e-4)
    assert found.high == pytest.approx(centre + half, abs=1e-6) == pytest.approx(0.94332, abs=1e-4)


def test_shares_of_none_and_all_stay_informative():
    none, everything = mean_interval([0.0] * 200), mean_interval([1.0] * 200)
    assert none.low == pytest.approx(0.0, abs=1e-12)
    assert none.high == pytest.approx(0.01885, abs=1e-4)
    assert everything.high == pytest.approx(1.0)
    assert everything.low == pytest.approx(1 - none.high)
    single = mean_interval([1.0])
    assert single.low is not None
    assert 0 < single.low < 0.5


def test_few_values_take_student_t_like_scipy():
    x = np.random.default_rng(1).normal(3, 2, 12)
    found = mean_interval(x.tolist(), confidence=0.9)
    expected = stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_many_values_take_bca_like_an_independent_one():
    x = np.random.default_rng(2).gamma(0.5, 1.0, 80)
    found = mean_interval(x.tolist(), seed=5)
    rng, n = np.random.default_rng(6), len(x)
    means = np.sort(x[rng.integers(0, n, (40_000, n))].mean(axis=1))
    bias = stats.norm.ppf((means < x.mean()).mean())
    skew = ((x - x.mean()) ** 3).sum() / (6 * ((x - x.mean()) ** 2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1 - skew * z)))
    width = high - low
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.03 * width)
    # Skewed to the right, so is the interval: a symmetric one would miss by more than the resampling noise
    assert found.high - found.mean > (found.mean - found.low) + 0.1 * width


def test_same_seed_same_interval():
    x = np.random.default_rng(3).random(50).tolist()
    assert mean_interval(x, seed=1) == mean_interval(x, seed=1)
    assert mean_interval(x, seed=1) != mean_interval(x, seed=2)


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3], [0.1 + 0.2, 0.3] * 40, [-7.0] * 31])
def test_values_without_a_spread_have_no_interval(values):
    found = mean_interval(values)
    assert (found.low, found.high, found.n) == (None, None, len(values))
    assert not found.excludes_zero
    assert "NaN" not in json.dumps(asdict(found), allow_nan=False)


def test_one_odd_value_among_many_still_has_a_finite_interval():
    found = mean_interval([0.0] * 199 + [0.3])
    assert found.low is not None
    assert found.high is not None
    assert 0.0 <= found.low <= found.mean <= found.high


@pytest.mark.parametrize(
    ("values", "confidence"), [([], 0.95), ([0.5, float("nan")], 0.95), ([math.inf], 0.95), ([0.5, 0.6], 95.0)]
)
def test_what_has_no_mean_is_refused(values, confidence):
    with pytest.raises(ValueError, match=r"interval needs|confidence must"):
        mean_interval(values, confidence)


def test_paired_difference_is_the_interval_of_the_differences():
    rng = np.random.default_rng(4)
    a, b = rng.random(60), rng.random(60)
    assert paired_interval(a.tolist(), b.tolist(), seed=3) == mean_interval((a - b).tolist(), seed=3)


def test_pairing_sees_what_two_separate_intervals_cannot():
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0, 1, 100)
    a, b = difficulty + 0.1 + rng.normal(0, 0.05, 100), difficulty + rng.normal(0, 0.05, 100)
    assert paired_interval(a.tolist(), b.tolist()).excludes_zero
    assert mean_interval(a.tolist()).low < mean_interval(b.tolist()).high


def test_paired_shares_by_hand():
    # 6 won, 1 lost, 13 ties: ((6 + 1) - (1 + 1)) / 22 -+ z sqrt((7 + 2) / 22 - (5 / 22)^2) / sqrt(22)
    a = [1.0] * 6 + [0.0] * 1 + [1.0] * 5 + [0.0] * 8
    b = [0.0] * 6 + [1.0] * 1 + [1.0] * 5 + [0.0] * 8
    centre, half = 5 / 22, 1.959964 * math.sqrt((9 / 22 - (5 / 22) ** 2) / 22)
    found = paired_interval(a, b)
    assert found.mean == pytest.approx(0.25)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-6)


def test_paired_shares_that_all_change_exclude_zero_and_that_none_change_do_not():
    assert paired_interval([1.0] * 20, [0.0] * 20).excludes_zero
    same = paired_interval([1.0] * 20, [1.0] * 20)
    assert same.mean == 0
    assert same.low < 0 < same.high
    assert not paired_interval([1.0, 1.0], [0.0, 0.0]).excludes_zero


def test_unpaired_lists_are_refused():
    with pytest.raises(ValueError, match="same examples"):
        paired_interval([1.0, 2.0], [1.0])


def test_ratio_weighs_by_the_denominator():
    found = ratio_interval([10.0, 1.0], [10.0, 2.0])
    assert found.mean == pytest.approx(11 / 12)
    assert ratio_interval([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == Interval(2.0, None, None, 3)


def test_ratio_with_equal_denominators_is_the_mean():
    few = np.random.default_rng(7).random(12).tolist()
    many = np.random.default_rng(7).random(45).tolist()
    for x in (few, many):
        ratio, mean = ratio_interval([2 * v for v in x], [2.0] * len(x), seed=1), mean_interval(x, seed=1)
        assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((mean.mean, mean.low, mean.high))


@pytest.mark.parametrize(("x", "y"), [([1.0], [0.0]), ([1.0, 2.0], [1.0, -1.0]), ([1.0, 2.0], [1.0])])
def test_ratio_refuses_what_it_cannot_divide(x, y):
    with pytest.raises(ValueError, match=r"must be positive|needs pairs"):
        ratio_interval(x, y)


@pytest.fixture
def quick(monkeypatch):
    """Fewer resamples: the noise this adds to the ends is small against their spread."""
    monkeypatch.setattr("gemma_align.evaluation.statistics.NUM_RESAMPLES", 499)


def _covered(interval: Interval, truth: float) -> bool:
    return interval.low is not None and interval.low <= truth <= interval.high


@pytest.mark.parametrize(
    ("draw", "truth", "n"),
    [
        (lambda rng, n: rng.beta(1.2, 4.0, n), 1.2 / 5.2, 10),  # like ROUGE-L
        (lambda rng, n: rng.beta(1.2, 4.0, n), 1.2 / 5.2, 200),
        (lambda rng, n: rng.poisson(0.3, n).astype(float), 0.3, 100),  # like invented facts
        (lambda rng, n: (rng.random(n) < 0.95).astype(float), 0.95, 100),  # like the finished share
    ],
)
def test_coverage_of_the_mean(quick, draw, truth, n):
    rng = np.random.default_rng(8)
    runs = 400
    covered = np.mean([_covered(mean_interval(draw(rng, n).tolist(), seed=i), truth) for i in range(runs)])
    assert 0.92 <= covered <= 0.985  # 400 runs of a true 95 % stray below 0.92 once in 200


def test_coverage_of_a_ratio_and_of_paired_shares(quick):
    rng = np.random.default_rng(9)
    ratios, shares = [], []
    for i in range(250):
        tokens = rng.integers(5, 200, 60).astype(float)
        ratios.append(_covered(ratio_interval((tokens * rng.gamma(9, 0.3, 60)).tolist(), tokens.tolist(), seed=i), 2.7))
        base = rng.random(60) < 0.3
        tuned = np.where(rng.random(60) < 0.4, rng.random(60) < 0.8, base)  # 0.6 * 0.3 + 0.4 * 0.8 = 0.5
        shares.append(_covered(paired_interval(tuned.astype(float).tolist(), base.astype(float).tolist()), 0.2))
    assert 0.90 <= np.mean(ratios) <= 0.99
    assert 0.91 <= np.mean(shares) <= 0.995
