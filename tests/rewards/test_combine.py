import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma_align.rewards.combine import capped, pessimistic, shaped, weighted
from gemma_align.rewards.lagrangian import Multiplier


def test_weighted_by_hand():
    got = weighted(torch.tensor([2.0, -1.0]), torch.tensor([-0.5, 0.0]), alpha=0.5, beta=4.0)
    assert got.tolist() == [-1.0, -0.5]


def test_pessimistic_by_hand():
    heads = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    assert pessimistic(heads, "mean", 9.0).tolist() == [2.0, 2.0]
    assert pessimistic(heads, "worst", 9.0).tolist() == [1.0, 2.0]
    assert pessimistic(heads, "variance", 0.5).tolist() == [1.5, 2.0]  # variance (1 + 1) / 2


@given(st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=1, max_size=5))
def test_pessimism_never_raises_a_score(rows):
    heads = torch.tensor(rows)
    mean = pessimistic(heads, "mean", 1.0)
    assert (pessimistic(heads, "worst", 1.0) <= mean + 1e-5).all()
    assert (pessimistic(heads, "variance", 1.0) <= mean + 1e-5).all()


def test_shaped_by_hand():
    got = shaped(torch.tensor([1.0, 1.0, 50.0]), torch.tensor([1.0, 1.0 + math.log(3), 0.0]))
    assert got.tolist() == pytest.approx([0.5, 0.25, 1.0])


def test_capped():
    assert capped(torch.tensor([5.0, -4.0, 5.0]), torch.tensor([-3.0, -3.0, math.inf])).tolist() == [-3.0, -4.0, 5.0]


def multiplier(**changes):
    return Multiplier(**({"beta": 1.0, "target": 0.1, "step": 0.5, "low": 0.25, "high": 4.0, "delay": 2} | changes))


def test_the_multiplier_waits_then_follows_the_share_by_hand():
    one = multiplier()
    one.observe(8, 8)
    one.observe(8, 8)
    assert one.beta == 1.0
    one.observe(4, 8)
    assert one.beta == pytest.approx(math.exp(0.5 * 0.4))
    one.observe(0, 8)
    assert one.beta == pytest.approx(math.exp(0.5 * 0.4 - 0.5 * 0.1))
    one.observe(0, 0)
    assert one.num_batches == 4


def test_the_multiplier_is_bounded_both_ways():
    up, down = multiplier(delay=0), multiplier(delay=0)
    for _ in range(100):
        up.observe(8, 8)
        down.observe(0, 8)
    assert (up.beta, down.beta) == (4.0, 0.25)


def test_the_multiplier_s_state_goes_on_where_it_stopped():
    one, other = multiplier(), multiplier()
    for _ in range(3):
        one.observe(3, 4)
    other.load_state_dict(one.state_dict())
    one.observe(1, 4)
    other.observe(1, 4)
    assert one == other
