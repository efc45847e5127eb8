"""The fused log-probability against the plain formula, in value and gradient."""

import pytest
import torch

from gemma_align.core import logprobs as module
from gemma_align.core.logprobs import slice_width, token_logprobs


def plain(hidden, head, targets, temperature):
    """The formula as a textbook has it, with all logits."""
    logp = torch.log_softmax(hidden @ head.T / temperature, dim=-1)
    return logp.gather(1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def problem(num_tokens, vocab=700, size=16, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(num_tokens, size, dtype=dtype, generator=generator)
    head = torch.randn(vocab, size, dtype=dtype, generator=generator)
    return hidden, head, torch.randint(0, vocab, (num_tokens,), generator=generator)


@pytest.fixture
def narrow_slices(monkeypatch):
    """Slices of 256 words and groups of 3 tokens, so that every edge is crossed by small problems."""
    monkeypatch.setitem(module._SLICE_ELEMENTS, "cpu", 1)
    monkeypatch.setattr(module, "_MAX_TOKENS", 3)


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("vocab", [255, 256, 257, 700])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("train_head", [False, True])
def test_equals_plain_formula(narrow_slices, num_tokens, vocab, temperature, train_head):
    hidden, head, targets = problem(num_tokens, vocab)
    targets[0] = vocab - 1
    weights = torch.randn(2, num_tokens, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for function in (plain, lambda *a: token_logprobs(*a[:3], temperature=a[3], entropy="grad")):
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_(train_head)
        logp, entropy = function(h, w, targets, temperature)
        (weights[0] @ logp + weights[1] @ entropy).backward()
        results.append((logp.detach(), entropy.detach(), h.grad, w.grad if train_head else torch.zeros(())))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("train_head", [False, True])
@pytest.mark.parametrize("entropy", ["none", "value", "grad"])
def test_gradcheck(narrow_slices, train_head, entropy):
    hidden, head, targets = problem(4, vocab=260, size=2)
    hidden.requires_grad_()
    head.requires_grad_(train_head)

    def outputs(h, w):
        logp, ent = token_logprobs(h, w, targets, temperature=1.3, entropy=entropy)
        return (logp, ent) if entropy == "grad" else logp

    # the head's 520 numbers are checked along random directions
    assert torch.autograd.gradcheck(outputs, (hidden, head), atol=1e-6, fast_mode=train_head)


def test_value_only_equals_value_with_gradient(narrow_slices):
    hidden, head, targets = problem(5)
    with torch.no_grad():
        without = token_logprobs(hidden, head, targets, entropy="value")
    with_gradient = token_logprobs(hidden.requires_grad_(), head, targets, entropy="value")
    for a, b in zip(without, with_gradient, strict=True):
        assert torch.equal(a, b)


def test_float32_and_bfloat16_are_as_close_as_their_digits():
    hidden, head, targets = problem(9)
    exact, _ = plain(hidden, head, targets, 1.0)
    single, _ = token_logprobs(hidden.float(), head.float(), targets)
    half, _ = token_logprobs(hidden.bfloat16(), head.bfloat16(), targets)
    assert single.dtype == half.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(half.double(), exact, rtol=1e-2, atol=0.1)


def test_large_logits_neither_overflow_nor_vanish():
    hidden, head, targets = problem(6, dtype=torch.float32)
    hidden = (hidden * 1000).requires_grad_()
    logp, _ = token_logprobs(hidden, head, targets)
    logp.sum().backward()
    expected, _ = plain(hidden.detach().double(), head.double(), targets, 1.0)
    assert torch.isfinite(hidden.grad).all()
    torch.testing.assert_close(logp.double(), expected, rtol=1e-6, atol=1e-2)


def test_a_certain_token_has_probability_one():
    head = torch.eye(8)
    logp, entropy = token_logprobs(head[:1] * 1e4, head, torch.tensor([0]), entropy="value")
    assert logp.item() == 0.0
    assert entropy.item() == 0.0


def test_no_tokens_give_no_values_and_a_zero_gradient():
    hidden = torch.zeros(0, 16, requires_grad=True)
    logp, entropy = token_logprobs(hidden, torch.randn(700, 16), torch.zeros(0, dtype=torch.long))
    logp.sum().backward()
    assert logp.shape == entropy.shape == (0,)
    assert hidden.grad is not None


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="above 0, got 0"):
        token_logprobs(*problem(2), temperature=0.0)


def test_a_slice_holds_no_more_logits_than_the_device_allows():
    assert slice_width(1024, 262_144, "cpu") * 1024 <= 2**21
    assert slice_width(1, 100, "cpu") == 100
    assert slice_width(10**9, 262_144, "cpu") == 256
