"""Statements about methods: by hand, against an analysis of variance, what must not matter, and by simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from gemma_align.evaluation.crossed import OneSeedError, contrast, interval, linearised
from gemma_align.evaluation.multiplicity import smallest_effect


def values(seed, num_seeds=3, n=40, seed_sd=0.3, mean=0.0):
    rng = np.random.default_rng(seed)
    example, of_seed = rng.normal(0, 1, n), rng.normal(0, seed_sd, (num_seeds, 1))
    return mean + example + of_seed + rng.normal(0, 0.5, (num_seeds, n))


def mean_squares(y):
    """Of seeds, examples and interaction, by statsmodels."""
    seeds, examples = np.indices(y.shape)
    table = pd.DataFrame({"y": y.ravel(), "s": seeds.ravel(), "i": examples.ravel()})
    found = anova_lm(ols("y ~ C(s) + C(i)", table).fit())
    return (found["sum_sq"] / found["df"]).to_numpy()


def test_parts_by_hand():
    a = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 4.0]])  # seed means 3 and 3
    b = np.array([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]])  # seed means 1 and 3, no interaction
    found = contrast(a, b)
    assert found.difference == pytest.approx(1.0)  # 3 - 2
    assert found.seeds == pytest.approx(0 / 2 + 2 / 2)
    # seed-averaged differences: (2 2 5) - (1 2 3) = (1 0 2), variance 1
    assert found.examples_all == pytest.approx(1 / 3)
    # interaction of a: rows minus column means (-1 0 1), (1 0 -1): sum of squares 4, / ((2 - 1)(3 - 1)) / (2 * 3)
    assert found.examples == pytest.approx(max(0.0, 1 / 3 - 4 / 2 / 6))
    assert found.seeds_df == pytest.approx(1.0)  # one method's seeds alone vary


def test_the_error_is_the_mean_squares_of_an_analysis_of_variance():
    a = values(0)
    seeds, examples, interaction = mean_squares(a)
    found = contrast(a)
    n, num_seeds = 40, 3
    assert found.seeds == pytest.approx(seeds / (num_seeds * n))
    assert found.examples_all == pytest.approx(examples / (num_seeds * n))
    assert found.error**2 == pytest.approx((seeds + examples - interaction) / (num_seeds * n))


def test_the_expected_squared_error_is_the_true_variance():
    rng = np.random.default_rng(1)
    shape, n = (20_000, 3), 20
    a = rng.normal(0, 0.4, (*shape, 1)) + rng.normal(0, 1, (shape[0], 1, n)) + rng.normal(0, 0.8, (*shape, n))
    b = rng.normal(0, 0.1, (*shape, 1)) + rng.normal(0, 0.8, (*shape, n))
    found = contrast(a, b)
    truth = 0.4**2 / 3 + 0.1**2 / 3 + 1 / n + 2 * 0.8**2 / (3 * n)
    assert found.difference.var() == pytest.approx(truth, rel=0.03)
    assert (found.error**2).mean() == pytest.approx(truth, rel=0.03)


def test_without_differences_between_examples_it_is_welchs_t_test():
    of_seed_a, of_seed_b = np.array([0.1, 0.5, 0.2]), np.array([0.4, 0.9, 0.7, 0.6])
    a, b = (np.repeat(means[:, None], 200, axis=1) for means in (of_seed_a, of_seed_b))
    expected = stats.ttest_ind(of_seed_a, of_seed_b, equal_var=False)
    found = interval(contrast(a, b), 0.9)
    low, high = expected.confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(expected.pvalue)


def test_with_equal_seeds_it_is_the_paired_t_test_over_examples():
    rng = np.random.default_rng(2)
    x, y = rng.normal(0.2, 1, 80), rng.normal(0, 1, 80)
    a, b = (np.repeat(row[None], 3, axis=0) for row in (x, y))
    found, expected = interval(contrast(a, b)), stats.ttest_rel(x, y)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_a_given_model_has_no_seeds_part():
    a, base = values(3), values(4, num_seeds=1)
    found = contrast(a, base, b_trained=False)
    assert found.seeds == pytest.approx(contrast(a).seeds)
    assert found.seeds_df == pytest.approx(2)
    both_given = contrast(base, values(5, num_seeds=1), a_trained=False, b_trained=False)
    assert both_given.seeds == 0
    paired = stats.ttest_rel(base[0], values(5, num_seeds=1)[0])
    assert interval(both_given).p == pytest.approx(paired.pvalue)


def test_one_seed_is_refused():
    with pytest.raises(OneSeedError, match="one training seed shows nothing"):
        contrast(values(0), values(1, num_seeds=1))


def test_other_examples_are_refused():
    with pytest.raises(ValueError, match="same examples"):
        contrast(values(0, n=40), values(1, n=41))
    with pytest.raises(ValueError, match="at least two"):
        contrast(values(0, n=1))


def test_nothing_varies_nothing_is_said():
    found = interval(contrast(np.full((3, 10), 0.5), np.zeros((3, 10))))
    assert (found.mean, found.low, found.high, found.p) == (0.5, None, None, None)
    assert not found.excludes_zero


def test_a_ratios_seed_means_are_the_ratios():
    rng = np.random.default_rng(6)
    tokens = rng.integers(5, 50, 60).astype(float)
    nats = tokens * rng.gamma(4, 0.5, (3, 60))
    found = linearised(nats, tokens)
    np.testing.assert_allclose(found.mean(1), nats.sum(1) / tokens.sum())
    np.testing.assert_allclose(linearised(nats, np.full(60, 4.0)), nats / 4.0)
    few, many = contrast(linearised(nats, tokens)).examples_all, []
    for _ in range(400):
        pick = rng.integers(0, 60, 60)
        many.append((nats[:, pick].sum(1) / tokens[pick].sum()).mean())
    assert few == pytest.approx(np.var(many), rel=0.35)  # the bootstrap's variance of the averaged ratio


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(2, 5), st.integers(3, 60), st.floats(0, 3))
def test_what_must_not_matter(seed, seeds_a, seeds_b, n, seed_sd):
    a, b = values(seed, seeds_a, n, seed_sd, mean=0.3), values(seed + 1, seeds_b, n, seed_sd)
    found = interval(contrast(a, b))
    swapped = interval(contrast(b, a))
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx((-found.mean, -found.high, -found.low))
    assert swapped.p == pytest.approx(found.p)
    rng = np.random.default_rng(seed)
    order, seeds = rng.permutation(n), rng.permutation(seeds_a)
    shuffled = interval(contrast(a[seeds][:, order], b[:, order]))
    assert (shuffled.mean, shuffled.low, shuffled.p) == pytest.approx((found.mean, found.low, found.p))
    difficulty = rng.normal(0, 5, n)  # what both find hard doesn't count
    moved = interval(contrast(a + difficulty, b + difficulty))
    assert (moved.mean, moved.low, moved.p) == pytest.approx((found.mean, found.low, found.p), abs=1e-6)
    scaled = interval(contrast(10 * a, 10 * b))
    assert (scaled.low, scaled.p) == pytest.approx((10 * found.low, found.p))
    assert found.excludes_zero == (found.p < 0.05)
    if found.p > 1e-12:  # p is where the interval ends at zero
        assert contrast(a, b).half_width(found.p) == pytest.approx(abs(found.mean), rel=1e-6)


def test_many_studies_at_once_are_the_studies_one_by_one():
    a, b = np.stack([values(i) for i in range(5)]), np.stack([values(10 + i, 4) for i in range(5)])
    together = contrast(a, b)
    for i in range(5):
        alone = contrast(a[i], b[i])
        assert together.half_width(0.01)[i] == pytest.approx(float(alone.half_width(0.01)))
        assert together.p_value()[i] == pytest.approx(float(alone.p_value()))


def test_three_seeds_know_less_than_five():
    halves = {
        num: np.mean([contrast(values(i, num), values(99 + i, num)).half_width(0.05) for i in range(50)])
        for num in (2, 3, 5)
    }
    assert halves[2] > 2 * halves[3] > 2.5 * halves[5]


def test_the_smallest_effect_is_found_about_four_times_in_five():
    rng = np.random.default_rng(8)
    n, seed_sd, alpha = 60, 0.3, 0.05 / 6
    shape = (2_000, 5)
    a, b = (rng.normal(0, seed_sd, (*shape, 1)) + rng.normal(0, 1, (*shape, n)) for _ in range(2))
    found = contrast(a, b)
    error, df = np.sqrt((found.error**2).mean()), np.median(found.satterthwaite_df())
    effect = smallest_effect(error, stats.t.ppf(1 - alpha / 2, df) * error, df)
    power = (np.abs(found.difference + effect) > found.half_width(alpha)).mean()
    assert 0.7 < power < 0.9
