"""Lean modules against the modules they replace, in value and gradient, and what they keep for backward."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm, apply_rotary_pos_emb

from gemma_align.core import matmul
from gemma_align.core.matmul import _FrozenLinear, linear
from gemma_align.models.lean import LeanLinear, LeanMLP, LeanRMSNorm, _GatedGelu, _RMSNorm, _Rotation, make_lean
from gemma_align.models.tiny import tiny_model


def outputs_and_gradient(module, x, weights):
    x = x.clone().requires_grad_()
    y = module(x)
    (y * weights).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("name", ["mlp", "input_layernorm", "mlp.gate_proj"])
@pytest.mark.parametrize("trained", [False, True])
def test_equals_the_module_it_replaces(name, trained):
    layer = tiny_model(200).model.layers[0].requires_grad_(trained)
    lean = copy.deepcopy(layer)
    make_lean(lean)
    x = torch.randn(2, 7, 48)
    old, new = layer.get_submodule(name), lean.get_submodule(name)
    weights = torch.randn_like(old(x))
    assert type(new) is not type(old)
    for a, b in zip(outputs_and_gradient(old, x, weights), outputs_and_gradient(new, x, weights), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5)
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None) == (not trained)
        if trained:
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-4)


def test_gradchecks():
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    up = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    scale = torch.randn(5, dtype=torch.float64)
    weight = torch.randn(4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: _RMSNorm.apply(t, scale, 1e-6), (x,))
    assert torch.autograd.gradcheck(_GatedGelu.apply, (x, up))
    states, angles = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True), torch.rand(3, 3).double()
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()
    assert torch.autograd.gradcheck(lambda t: _Rotation.apply(t, cos, sin), (states,))
    assert torch.autograd.gradcheck(lambda t: _FrozenLinear.apply(t, weight), (x,))


def test_rotation_equals_transformers():
    model = tiny_model(200).model
    heads = torch.randn(1, 2, 7, model.config.head_dim)
    cos, sin = model.rotary_emb(heads, torch.arange(40, 47)[None], "full_attention")
    rotated, _ = apply_rotary_pos_emb(heads, heads, cos, sin)
    torch.testing.assert_close(_Rotation.apply(heads, cos[:, None], sin[:, None]), rotated)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 5), (2, 3, 5), (0, 5)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_linear_equals_torch(shape, bias, dtype):
    x = torch.randn(shape, dtype=dtype)
    weight, b = torch.randn(4, 5, dtype=dtype), torch.randn(4, dtype=dtype) if bias else None
    torch.testing.assert_close(linear(x, weight, b), nn.functional.linear(x, weight, b))


@pytest.mark.parametrize("only_avx2", [False, True])
@pytest.mark.parametrize("rows", [1, 255, 256, 300])
@pytest.mark.parametrize(("num_out", "num_in"), [(48, 16), (16, 48), (16, 16)])
def test_every_kernel_gives_the_product_and_its_gradient(monkeypatch, only_avx2, rows, num_out, num_in):
    monkeypatch.setattr(matmul, "has_only_avx2", lambda: only_avx2)
    weight = torch.randn(num_out, num_in)
    x, grad = torch.randn(rows, num_in, requires_grad=True), torch.randn(rows, num_out)
    y = linear(x, weight)
    y.backward(grad)
    torch.testing.assert_close(y.double(), x.double() @ weight.double().T, check_dtype=False, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(x.grad.double(), grad.double() @ weight.double(), rtol=1e-5, atol=1e-4)


def test_with_avx2_the_blas_does_wide_gradients_only():
    weight = torch.randn(48, 16)
    assert matmul.prefers_blas(256, weight.t())
    assert not matmul.prefers_blas(255, weight.t())
    assert matmul.prefers_blas(8, torch.randn(128, 16).t())
    assert not matmul.prefers_blas(256, weight)
    assert not matmul.prefers_blas(256, torch.randn(16, 48).t())
    assert not matmul.prefers_blas(256, torch.randn(16, 48))


def test_a_trained_weight_gets_its_gradient():
    weight = torch.randn(4, 5, requires_grad=True)
    x = torch.randn(3, 5)
    linear(x, weight).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(4, 5))


def test_a_frozen_linear_keeps_nothing_and_a_norm_keeps_its_input():
    kept = []

    def keep(t):
        kept.append(t)
        return t

    x = torch.randn(6, 48, requires_grad=True)
    layer = tiny_model(200).model.layers[0].requires_grad_(False)
    make_lean(layer)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        layer.mlp.gate_proj(x)
        assert kept == []
        layer.input_layernorm(x)
    assert sorted(t.numel() for t in kept) == [6, 48, x.numel()]


def test_only_gemmas_own_modules_are_exchanged():
    class Mine(nn.Linear):
        pass

    model = nn.ModuleList([nn.Linear(2, 2), Mine(2, 2), Gemma3RMSNorm(2), nn.LayerNorm(2)])
    make_lean(model)
    assert [type(m) for m in model] == [LeanLinear, Mine, LeanRMSNorm, nn.LayerNorm]
    whole = tiny_model(200)
    names = list(whole.state_dict())
    make_lean(whole)
    assert list(whole.state_dict()) == names
    assert all(type(layer.mlp) is LeanMLP for layer in whole.model.layers)
