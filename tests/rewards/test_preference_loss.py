"""Bradley-Terry's loss by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_align.core.preference import bradley_terry_loss, centring_penalty


def loss(chosen: float, rejected: float, margin: float = 0.0, smoothing: float = 0.0) -> float:
    return bradley_terry_loss(
        torch.tensor([[chosen]]), torch.tensor([[rejected]]), torch.tensor([margin]), smoothing
    ).item()


def test_by_hand():
    assert loss(0.0, 0.0) == pytest.approx(math.log(2))
    assert loss(math.log(3), 0.0) == pytest.approx(math.log(4 / 3))  # the chosen wins with probability 3/4
    assert loss(0.0, math.log(3)) == pytest.approx(math.log(4))
    assert loss(math.log(6), 0.0, margin=math.log(2)) == pytest.approx(math.log(4 / 3))
    assert loss(math.log(3), 0.0, smoothing=0.1) == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))


def test_every_pair_and_head_has_its_own_loss():
    chosen = torch.tensor([[1.0, 2.0], [0.5, -1.0], [0.0, 0.0]])
    rejected = torch.tensor([[0.0, 3.0], [1.0, -1.0], [-2.0, 1.0]])
    margin = torch.tensor([0.0, 1.0, 2.0])
    found = bradley_terry_loss(chosen, rejected, margin, 0.2)
    for n in range(3):
        for k in range(2):
            by_itself = loss(float(chosen[n, k]), float(rejected[n, k]), float(margin[n]), 0.2)
            assert found[n, k].item() == pytest.approx(by_itself)
    torch.testing.assert_close(centring_penalty(chosen, rejected)[0], torch.tensor([1.0, 25.0]))


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(0, 0.49))
def test_finite_at_any_difference_and_shifting_both_scores_changes_nothing(chosen, rejected, smoothing):
    value = loss(chosen, rejected, smoothing=smoothing)
    assert math.isfinite(value)
    assert value >= -1e-6
    # float32 keeps about 1e-3 of a sum of this size
    assert loss(chosen + 64, rejected + 64, smoothing=smoothing) == pytest.approx(value, abs=5e-2, rel=1e-3)


def test_smoothing_puts_the_best_difference_where_the_probability_is_right():
    grid = torch.linspace(-6, 6, 24_001)[:, None]
    losses = bradley_terry_loss(grid, torch.zeros_like(grid), torch.zeros(len(grid)), 0.2)
    assert torch.sigmoid(grid[losses.argmin()]).item() == pytest.approx(0.8, abs=1e-3)
