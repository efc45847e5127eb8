"""The loop and SFT on a tiny model: what gets a gradient, and that nothing but the mathematics decides the weights."""

import copy
import math

import pytest
import torch
from tests.trainers.common import SCHEDULED, make_loop, require_exact_resume, tiny_policy, weights

from gemma_align.config import LoraConfig
from gemma_align.data.collate import Encoder
from gemma_align.models.policy import num_recomputed
from gemma_align.trainers.loop import Loop
from gemma_align.trainers.schedule import batch_indices, learning_rate_factor, num_updates
from gemma_align.trainers.sft import SFT, sft_loss
from gemma_align.types import Example, Totals

EXAMPLES = [
    Example(id=str(i), prompt="say it " * (1 + i % 5), response=f"it is number {i} " * (1 + i % 3), cue="Answer:")
    for i in range(19)
]


def sft_loop(policy, algorithm=SFT, seed=0, **settings) -> Loop:
    settings = SCHEDULED | {"learning_rate": 1e-2, "batch_size": 8} | settings
    return make_loop(policy, algorithm(policy, Encoder(policy.prompt_format, 512)), EXAMPLES, seed, **settings)


def test_every_adapter_tensor_gets_a_gradient_and_nothing_else_does():
    policy = tiny_policy(lora=LoraConfig(r=4, target_modules=("q_proj", "v_proj")))
    with torch.no_grad():  # B starts at 0, where A's gradient is 0 too
        for name, weight in policy.trainable().items():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    sft = SFT(policy, Encoder(policy.prompt_format, 512))
    loss, _ = sft.loss(sft.prepare(EXAMPLES[:4]), Totals(10, 4))
    loss.backward()
    trainable = policy.trainable()
    assert len(trainable) == 4 * 2 * 2  # layers x (q, v) x (A, B)
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in trainable.values())
    assert all(w.grad is None for name, w in policy.model.named_parameters() if name not in trainable)


def test_without_lora_every_weight_gets_a_gradient():
    policy = tiny_policy(lora=None)
    sft = SFT(policy, Encoder(policy.prompt_format, 512))
    sft.loss(sft.prepare(EXAMPLES[:4]), Totals(10, 4))[0].backward()
    assert {id(w) for w in policy.trainable().values()} == {id(w) for w in policy.model.parameters()}
    assert all(weight.grad.abs().max() > 0 for weight in policy.trainable().values())


def test_loss_by_hand():
    logprobs = torch.log(torch.tensor([[0.5, 0.25], [0.125, 1.0]]))
    mask = torch.tensor([[True, True], [True, False]])
    expected = torch.log(torch.tensor([[2.0, 4.0], [8.0, 1.0]]))
    torch.testing.assert_close(sft_loss(logprobs, mask), expected)
    assert sft_loss(torch.full((1, 1), -torch.inf), torch.tensor([[False]])).item() == 0


@pytest.mark.parametrize("lora", [LoraConfig(r=4), None])
def test_loss_and_gradient_equal_transformers_own(lora):
    """Labels of -100 on prompt and padding are how transformers leaves tokens out."""
    policy = tiny_policy(lora=lora)
    encoder = Encoder(policy.prompt_format, 512)
    sft = SFT(policy, encoder)
    batch = sft.prepare(EXAMPLES[:6])
    tokens = int(batch.responses.mask.sum())
    loss, _ = sft.loss(batch, Totals(tokens, 6))
    loss.backward()
    ours = {name: weight.grad.clone() for name, weight in policy.trainable().items()}
    policy.model.zero_grad()

    rows = [(f.prompt_ids, f.response_ids) for f in map(encoder.fit, EXAMPLES[:6])]
    width = max(len(p) + len(r) for p, r in rows)
    ids = torch.tensor([[*p, *r] + [0] * (width - len(p) - len(r)) for p, r in rows])
    labels = torch.tensor([[-100] * len(p) + list(r) + [-100] * (width - len(p) - len(r)) for p, r in rows])
    attention_mask = torch.tensor([[1] * (len(p) + len(r)) + [0] * (width - len(p) - len(r)) for p, r in rows])
    theirs = policy.model(input_ids=ids, attention_mask=attention_mask, labels=labels).loss
    theirs.backward()
    torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=1e-5)
    for name, weight in policy.trainable().items():
        torch.testing.assert_close(ours[name], weight.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_prompt_tokens_get_no_loss_and_padding_changes_nothing():
    policy = tiny_policy()
    encoder = Encoder(policy.prompt_format, 512)
    alone = policy.logprobs(encoder(EXAMPLES[:1]))
    among = policy.logprobs(encoder(EXAMPLES[:6]))[:1]
    width = alone.shape[1]
    torch.testing.assert_close(among[:, :width], alone, rtol=1e-5, atol=1e-5)
    assert (among[:, width:] == 0).all()
    fitted = encoder.fit(EXAMPLES[0])
    assert alone.shape == (1, len(fitted.response_ids))


@pytest.mark.parametrize("max_tokens", [1, 60, 100])
def test_microbatches_change_no_weight(max_tokens):
    """1 x 8 = 8 x 1: the whole minibatch at once against one response at a time."""
    results = []
    for budget in (100_000, max_tokens):
        policy = tiny_policy()
        metrics = [u.metrics for u in sft_loop(policy, max_tokens_per_microbatch=budget)]
        results.append((weights(policy), metrics))
    (whole, whole_metrics), (split, split_metrics) = results
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-4, atol=2e-5, msg=name)
    for a, b in zip(whole_metrics, split_metrics, strict=True):
        assert a["loss/sft"] == pytest.approx(b["loss/sft"], rel=1e-5)


@pytest.mark.parametrize("limit", [0, 64])
def test_recomputed_activations_change_no_weight(limit):
    plain, again = tiny_policy(), tiny_policy()
    again.recompute_above(limit)
    layers, seen = again.causal_lm.model.layers, set()
    layers[0].mlp.register_forward_pre_hook(
        lambda _, inputs: seen.add((inputs[0].shape[1], sum(x.gradient_checkpointing and x.training for x in layers)))
    )
    for policy in (plain, again):
        list(sft_loop(policy, max_tokens_per_microbatch=100, batch_size=4))
    for name, weight in weights(plain).items():
        assert torch.equal(weights(again)[name], weight), name
    assert all(recomputed == num_recomputed(size, limit, len(layers)) for size, recomputed in seen)
    assert {recomputed > 0 for _, recomputed in seen} == ({True} if limit == 0 else {True, False})


def test_a_row_keeps_no_more_activations_than_its_limit():
    assert [num_recomputed(tokens, 100, 18) for tokens in (1, 100, 101, 150, 200, 10_000)] == [0, 0, 1, 6, 9, 18]
    assert num_recomputed(1, 0, 18) == 18
    assert all((18 - num_recomputed(n, 100, 18)) * n <= 18 * 100 for n in range(101, 3000))


def test_same_seed_same_bits_and_another_seed_another_order():
    curves = [[u.metrics["loss/sft"] for u in sft_loop(tiny_policy(), seed=seed)] for seed in (3, 3, 4)]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_a_loop_that_goes_on_from_its_state_ends_in_the_same_bits():
    require_exact_resume(lambda: sft_loop(tiny_policy(), num_epochs=2), lambda: sft_loop(tiny_policy(99), num_epochs=2))


def test_training_lowers_the_loss():
    losses = [u.metrics["loss/sft"] for u in sft_loop(tiny_policy(), num_epochs=8)]
    assert losses[-1] < 0.75 * losses[0]


class Broken(SFT):
    """Its loss isn't finite in the second update."""

    calls = 0

    def prepare(self, examples):
        self.calls += 1
        return super().prepare(examples)

    def loss(self, batch, totals):
        loss, metrics = super().loss(batch, totals)
        return (loss * math.nan if self.calls == 2 else loss), metrics


def test_a_loss_that_is_not_finite_never_reaches_the_weights(caplog):
    policy = tiny_policy()
    loop = sft_loop(policy, algorithm=Broken, num_epochs=1)
    updates = iter(loop)
    next(updates)
    before, moments = weights(policy), copy.deepcopy(loop.optimizer.state_dict())
    skipped = next(updates)
    assert skipped.metrics["optimizer/skipped"] == 1
    assert "not finite" in caplog.text
    assert all(torch.equal(before[name], weight) for name, weight in weights(policy).items())
    for i, old in moments["state"].items():
        assert torch.equal(old["exp_avg"], loop.optimizer.state_dict()["state"][i]["exp_avg"])
    last = next(updates)
    assert last.metrics["optimizer/skipped"] == 0
    assert all(torch.isfinite(weight).all() for weight in weights(policy).values())


def test_an_epoch_sees_every_example_once_and_each_in_an_order_of_its_own():
    epochs = [[i for s in range(3) for i in batch_indices(3 * e + s, 19, 8, seed=5)] for e in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(19))] * 2
    assert epochs[0] != epochs[1]
    assert len(batch_indices(2, 19, 8, seed=5)) == 3
    assert (num_updates(19, 8, 2, None), num_updates(19, 8, 2, 4), num_updates(19, 8, 1, 40)) == (6, 4, 40)


def test_learning_rate_by_hand():
    rates = [learning_rate_factor(s, 10, 0.2, "linear") for s in range(10)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert learning_rate_factor(6, 10, 0.2, "cosine") == pytest.approx(0.5)
    assert learning_rate_factor(9, 10, 0.0, "constant") == 1.0
    assert learning_rate_factor(0, 1, 0.05, "cosine") == 0.5
