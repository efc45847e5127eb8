import math

import numpy as np
import pytest
from scipy.optimize import curve_fit

from gemma_align.evaluation.overoptimisation import at_proxy_maximum, fit, fit_examples, stop_without_gold

LAWS = {"rl": lambda d, a, b: d * (a - b * np.log(d)), "best_of_n": lambda d, a, b: d * (a - b * d)}
D = np.linspace(0.2, 4.0, 20)


@pytest.mark.parametrize(("law", "peak"), [("rl", math.exp(1.5 / 1.0 - 1)), ("best_of_n", 1.5 / 2.0)])
def test_a_curve_without_noise_is_found_with_its_peak(law, peak):
    found = fit(D, LAWS[law](D, 1.5, 1.0), law)
    assert (found.a, found.b, found.residual) == pytest.approx((1.5, 1.0, 0.0))
    assert found.peak == pytest.approx(peak)
    assert found.peak_value == pytest.approx(LAWS[law](peak, 1.5, 1.0))
    assert found(D) == pytest.approx(LAWS[law](D, 1.5, 1.0))
    assert found(np.array([0.0])) == pytest.approx([0.0])


@pytest.mark.parametrize("law", list(LAWS))
def test_coefficients_and_errors_are_scipys(law):
    gain = LAWS[law](D, 1.0, 0.4) + np.random.default_rng(0).normal(0, 0.1, len(D))
    found = fit(D, gain, law, confidence=0.9)
    (a, b), covariance = curve_fit(LAWS[law], D, gain)
    assert (found.a, found.b) == pytest.approx((a, b), rel=1e-5)
    from scipy import stats

    half = stats.t.ppf(0.95, len(D) - 2) * np.sqrt(np.diag(covariance))
    assert found.a_interval == pytest.approx((a - half[0], a + half[0]), rel=1e-4)
    assert found.b_interval == pytest.approx((b - half[1], b + half[1]), rel=1e-4)


def test_intervals_cover():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(400):
        found = fit(D, LAWS["rl"](D, 1.0, 0.4) + rng.normal(0, 0.3, len(D)), "rl")
        hits += found.b_interval[0] <= 0.4 <= found.b_interval[1]
    assert 0.91 < hits / 400 < 0.985


@pytest.mark.parametrize("law", list(LAWS))
def test_the_fit_of_a_mean_is_the_mean_of_the_fits(law):
    rng = np.random.default_rng(4)
    each = np.stack([LAWS[law](D, a, b) for a, b in rng.normal((1.0, 0.4), 0.2, (50, 2))])
    found, plain = fit_examples(D, each, law), fit(D, each.mean(axis=0), law)
    assert (found.a, found.b, found.peak) == pytest.approx((plain.a, plain.b, plain.peak))
    assert plain.b_interval[1] - plain.b_interval[0] < 1e-6  # no noise: the points alone know nothing of examples
    assert 0.05 < found.b_interval[1] - found.b_interval[0] < 0.2


def test_intervals_over_examples_cover_where_the_points_of_one_hang_together():
    rng, hits, plain = np.random.default_rng(5), 0, 0
    for _ in range(300):
        own = rng.normal(0, 0.5, (40, 1)) * D  # an example's whole curve leans one way
        gains = LAWS["best_of_n"](D, 1.0, 0.2) + own + rng.normal(0, 0.1, (40, len(D)))
        low, high = fit_examples(D, gains, "best_of_n").a_interval
        hits += low <= 1.0 <= high
        low, high = fit(D, gains.mean(axis=0), "best_of_n").a_interval
        plain += low <= 1.0 <= high
    assert 0.91 < hits / 300 < 0.985
    assert plain / 300 < 0.7  # why `fit` isn't for this


def test_no_peak_is_an_answer():
    rising = fit(D, 0.5 * D, "best_of_n")
    assert rising.b == pytest.approx(0, abs=1e-9)
    assert rising.peak is None
    beyond = fit(D, LAWS["best_of_n"](D, 1.0, 0.1), "best_of_n")  # at 5, and 4 is the last point
    assert beyond.peak is None
    noise = fit(D, np.random.default_rng(3).normal(0, 1, len(D)), "best_of_n")
    assert noise.peak is None
    falling = fit(D, -0.5 * D - D * D, "best_of_n")
    assert falling.peak is None


def test_points_at_zero_say_nothing_and_too_few_are_refused():
    with_zero = fit([0.0, *D], [9.0, *LAWS["rl"](D, 1.0, 0.4)], "rl")
    assert with_zero.num_points == len(D)
    with pytest.raises(ValueError, match="3 different distances"):
        fit([0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0], "rl")
    with pytest.raises(ValueError, match="3 different distances"):
        fit_examples([0.0, 1.0, 2.0], np.zeros((5, 3)), "rl")
    with pytest.raises(ValueError, match="as many finite gains"):
        fit_examples([1.0, 2.0, 3.0], np.zeros((5, 2)), "rl")
    with pytest.raises(ValueError, match="at least 0"):
        fit([-1.0, 1.0, 2.0, 3.0], [0.0, 1.0, 1.0, 2.0], "rl")


def test_stopping_rules_by_hand():
    proxy, gold = [0.0, 1.0, 2.0, 3.0, 2.9], [0.0, 0.5, 0.7, 0.1, 0.0]
    greedy = at_proxy_maximum(proxy, gold)
    assert (greedy.index, greedy.gold, greedy.lost) == (3, 0.1, pytest.approx(0.6))
    kl, clean = [0.0, 1.0, 2.0, 4.0, 8.0], [0.1] * 5
    assert stop_without_gold(proxy, gold, clean, kl, max_kl=3.0).index == 2
    assert stop_without_gold(proxy, gold, [0.1, 0.1, 0.3, 0.1, 0.1], kl, max_kl=100.0).index == 1
    assert stop_without_gold(proxy, gold, clean, kl, max_kl=100.0).index == 3
