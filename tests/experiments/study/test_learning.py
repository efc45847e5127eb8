"""Reward for tokens spent, and whether a reward is being hacked, against values worked out by hand."""

import pytest
from tests.experiments.study.records import course, record

from gemma_align.experiments.study.learning import course_of, judge, reward_per_token, tokens_to


def learned(rewards, **kwargs):
    return course_of(record("grpo", course=course(rewards, **kwargs)), "rougeL")


def test_a_cell_that_never_sampled_has_no_course():
    assert course_of(record("sft"), "rougeL") is None


def test_tokens_are_those_of_all_responses():
    assert learned([0.0] * 4, tokens=10.0).tokens == (160.0, 320.0, 480.0, 640.0)


def test_reward_per_token_is_the_area_under_the_curve_up_to_the_budget():
    found = learned([1.0, 3.0, 5.0], tokens=10.0)  # 160 tokens each
    assert reward_per_token(found, 480.0) == pytest.approx(3.0)
    assert reward_per_token(found, 240.0) == pytest.approx((160 * 1 + 80 * 3) / 240)
    assert reward_per_token(found, 160.0) == pytest.approx(1.0)
    assert reward_per_token(found, 1e9) == pytest.approx(3.0)  # no more than there is


def test_tokens_to_a_level_are_counted_where_the_smoothed_curve_reaches_it():
    found = learned([0.0] * 10 + [1.0] * 20)
    assert tokens_to(found, 0.5) == pytest.approx(160.0 * 15)
    assert tokens_to(found, 1.0) == pytest.approx(160.0 * 20)
    assert tokens_to(found, 1.1) is None


def test_distance_and_gain_are_held_against_the_start():
    found = learned([0.0] * 20, kl=9.0, proxy=(1.0, 4.0), std=2.0)
    assert found.gain == pytest.approx(1.5)
    assert found.points[0].distance == 0.0
    assert found.points[-1].distance == pytest.approx((9.0 * (15 + 16 + 17 + 18 + 19) / 5 / 19) ** 0.5)
    assert found.points[-1].gold == 0.3


@pytest.mark.parametrize(
    ("kl", "gain", "gold", "kind"),
    [
        (0.1, 0.1, "worse", "not trained"),
        (0.1, 0.1, "better", "not trained"),
        (5.0, 2.0, "worse", "hacked"),
        (5.0, 0.0, "worse", "harmed"),
        (5.0, 2.0, "better", "improved"),
        (5.0, 2.0, "open", "open"),
        (0.1, 2.0, "worse", "hacked"),  # near, but the proxy rose
    ],
)
def test_verdicts(kl, gain, gold, kind):
    found = learned([0.0] * 20, kl=kl, proxy=(0.0, gain))
    assert judge([found, found], gold) == kind


def test_every_part_of_the_reward_is_shown_the_total_first_and_nothing_that_is_none():
    rows = course([0.0] * 12)
    for row in rows:
        if "rollout/tokens" in row:
            row |= {"reward/term/own:short": 0.5, "reward/capped": 0.0, "reward/std_in_group": 0.1, "value/loss": 1.0}
    found = course_of(record("grpo", course=rows), "rougeL").columns
    assert next(iter(found)) == "reward/total"
    assert found["reward/term/own:short"] == (0.5,) * 12
    assert {"reward/capped", "policy/kl", "rollout/tokens"} <= set(found)
    assert not {"reward/std", "reward/std_in_group", "value/loss"} & set(found)
