"""Fitting: exact accumulation, one loss by hand, early stopping, determinism, and that something is learned."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tests.rewards.encoders import SMALL, tiny_policy, told_by_a_word

from gemma_align.config import EncoderConfig, TrainingConfig
from gemma_align.core.packing import microbatch_rows
from gemma_align.core.preference import bradley_terry_loss, centring_penalty
from gemma_align.errors import DataError
from gemma_align.rewards.encoder.build import build_encoder
from gemma_align.rewards.encoder.files import load_encoder, save_encoder
from gemma_align.rewards.fitting.fit import fit_encoder, pair_accuracy, pair_differences, pair_loss
from gemma_align.rewards.fitting.pairs import Pairs, cut_dev, first_turn, pairs_of
from gemma_align.trainers.bradley_terry import BradleyTerry
from gemma_align.trainers.loop import Loop
from gemma_align.types import Example, Totals, Turn

CALM = SMALL.model_copy(
    update={"dropout": 0.0, "feature_dropout": 0.0, "margin": 0.3, "centring": 0.05, "label_smoothing": 0.1}
)


@pytest.fixture(scope="module")
def policy():
    return tiny_policy()


def algorithm(policy, config: EncoderConfig = CALM) -> BradleyTerry:
    return BradleyTerry(build_encoder(config, policy, seed=0), config, seed=0)


def test_the_loss_is_the_mean_over_pairs_and_heads(policy):
    ours = algorithm(policy)
    examples = told_by_a_word(5)
    batch = ours.prepare(examples)
    loss, metrics = ours.loss(batch, Totals(1.0, 5.0))
    slow, right = 0.0, 0
    for n, example in enumerate(examples):
        chosen = ours.encoder([ours.encoder.row(example, example.response)])
        rejected = ours.encoder([ours.encoder.row(example, example.rejected)])
        each = bradley_terry_loss(chosen, rejected, torch.tensor([0.3]), 0.1)
        each = each + 0.05 * centring_penalty(chosen, rejected)
        slow += (batch.weights[n] * each[0]).sum().item() / (5 * 2)
        right += bool((chosen - rejected).mean() > 0)
    assert loss.item() == pytest.approx(slow, rel=1e-5)
    assert metrics["reward/accuracy"] == pytest.approx(right / 5)
    assert set(metrics) == set(ours.metrics)
    assert metrics["loss/preference"] + 0.05 * metrics["loss/centring"] == pytest.approx(slow, rel=1e-5)


def test_a_batch_gives_back_the_rows_it_was_made_of(policy):
    ours = algorithm(policy)
    examples = told_by_a_word(6)
    picked = ours.prepare(examples).select(torch.tensor([4, 1]))
    chosen, rejected = picked.rows()
    for example, a, b in zip((examples[4], examples[1]), chosen, rejected, strict=True):
        assert (a.prompt_ids, a.response_ids) == _ids(ours.encoder.row(example, example.response))
        assert (b.prompt_ids, b.response_ids) == _ids(ours.encoder.row(example, example.rejected))
    assert len(ours.prepare([])) == 0


def _ids(row):
    return row.prompt_ids, row.response_ids


def test_splitting_by_a_budget_of_tokens_changes_no_gradient(policy):
    gradients = []
    for budget in (10**6, 60):
        ours = algorithm(policy)
        batch = ours.prepare(told_by_a_word(8))
        parts = microbatch_rows(batch.responses, budget)
        assert (len(parts) > 3) == (budget == 60)
        for rows in parts:
            ours.loss(batch.select(rows), Totals(1.0, 8.0))[0].backward()
        gradients.append({name: w.grad for name, w in ours.encoder.named_parameters()})
    for name, gradient in gradients[0].items():
        assert float(gradient.abs().max()) > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_heads_weigh_pairs_by_draws_of_their_own(policy):
    many = algorithm(policy, CALM.model_copy(update={"heads": 3}))
    examples = told_by_a_word(400)
    weights = many.prepare(examples).weights
    assert torch.equal(weights[:9], many.prepare(examples[:9]).weights)  # of the pair, not of its batch
    assert weights.min() > 0
    np.testing.assert_allclose(weights.mean(0), 1, atol=0.2)  # Exp(1): standard error 0.05
    np.testing.assert_allclose(weights.std(0), 1, atol=0.3)
    assert abs(float(torch.corrcoef(weights.T)[0, 1])) < 0.2
    plain = algorithm(policy, CALM.model_copy(update={"resample": False}))
    assert plain.prepare(examples[:2]).weights.eq(1).all()


def test_margins_of_examples_scale_the_setting(policy):
    ours = algorithm(policy)
    one, two = told_by_a_word(2)
    two = Example(two.id, two.prompt, two.response, two.rejected, checks={"margin": 3})
    torch.testing.assert_close(ours.prepare([one, two]).margin, torch.tensor([0.3, 0.9]))
    for bad in (-1, "2", float("nan"), True):
        with pytest.raises(DataError, match="margin"):
            ours.prepare([Example("bad", "a?", "b", "c", checks={"margin": bad})])
    with pytest.raises(DataError, match="'half'"):
        ours.prepare([Example("half", "a?", "b")])


def test_it_learns_what_tells_the_pairs_apart(policy):
    config = SMALL.model_copy(update={"epochs": 6, "learning_rate": 1e-2})
    encoder = build_encoder(config, policy, seed=0)
    examples = told_by_a_word(120)
    fitted = fit_encoder(encoder, Pairs(tuple(examples[:80]), tuple(examples[80:100])), config, seed=0)
    unseen = pair_differences(encoder, examples[100:])
    assert pair_accuracy(unseen) > 0.9
    assert fitted.history[fitted.best_epoch - 1].dev_loss == min(e.dev_loss for e in fitted.history)
    assert fitted.num_pairs == 80
    assert fitted.num_dev == 20
    assert fitted.num_tokens > 0
    # the kept weights are the best epoch's: its dev loss comes out again, on the scale it had before standardising
    dev = pair_differences(encoder, examples[80:100]) * float(encoder.score_std)
    assert pair_loss(dev) == pytest.approx(fitted.history[fitted.best_epoch - 1].dev_loss, rel=1e-4)
    both = [encoder.row(e, text) for e in examples[80:100] for text in (e.response, e.rejected)]
    assert float(encoder.head_scores(both).mean()) == pytest.approx(0, abs=1e-4)


def test_equal_seeds_give_equal_bits_and_leave_the_caller_s_draws_alone(policy):
    pairs = cut_dev(told_by_a_word(24), 0.25, 0)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed + 7)
        encoder = build_encoder(SMALL, policy, seed=seed)
        before = torch.get_rng_state()
        fit_encoder(encoder, pairs, SMALL, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        states.append(encoder.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_patience_ends_the_fit_and_the_best_weights_stay(policy):
    examples = told_by_a_word(40)
    turned = tuple(Example(e.id, e.prompt, e.rejected, e.response, e.history, e.cue) for e in examples[30:])
    config = SMALL.model_copy(update={"epochs": 9, "patience": 2, "learning_rate": 1e-2})
    encoder = build_encoder(config, policy, seed=0)
    fitted = fit_encoder(encoder, Pairs(tuple(examples[:30]), turned), config, seed=0)  # dev says the opposite
    assert len(fitted.history) == fitted.best_epoch + 2 < 9


def test_it_runs_on_the_project_s_own_loop(policy):
    ours = algorithm(policy)
    loop = Loop(
        ours,
        dict(ours.encoder.named_parameters()),
        told_by_a_word(10),
        TrainingConfig(batch_size=4),
        seed=0,
        accelerator=Accelerator(cpu=True),
        timer=lambda phase: nullcontext(),
    )
    updates = list(loop)
    assert [u.num_examples for u in updates] == [4, 4, 2]
    assert all(set(ours.metrics) <= set(u.metrics) for u in updates)
    pairs = [ours.pair(e) for e in told_by_a_word(10)]
    assert sum(u.num_tokens for u in updates) == sum(len(a) + len(b) for a, b in pairs)


def test_dev_pairs_share_no_first_turn_with_the_others():
    examples = [
        Example(f"{i}-{j}", f"last {i} {j}?", "a", "b", history=(Turn("user", f"Begin {i}!"), Turn("assistant", "x")))
        for i in range(20)
        for j in range(3)
    ]
    pairs = cut_dev(examples, 0.2, 0)
    assert len(pairs.dev) == 12
    assert {first_turn(e) for e in pairs.fit}.isdisjoint(first_turn(e) for e in pairs.dev)
    assert sorted(e.id for e in (*pairs.fit, *pairs.dev)) == sorted(e.id for e in examples)
    assert first_turn(examples[0]) == "begin 0"
    assert pairs_of([Example("a", "b"), Example("c", "d", "e"), examples[0]]) == (examples[0],)
    with pytest.raises(DataError, match="at least two"):
        cut_dev(examples[:3], 0.2, 0)
    with pytest.raises(DataError, match="dev_share"):
        cut_dev(examples, 0.99, 0)


def test_a_fitted_encoder_comes_back_from_its_folder(policy, tmp_path):
    encoder = build_encoder(SMALL, policy, seed=0)
    examples = told_by_a_word(24)
    fit_encoder(encoder, cut_dev(examples, 0.25, 0), SMALL, seed=0)
    save_encoder(encoder, SMALL, tmp_path, {"task": "safety"})
    again = load_encoder(tmp_path, policy)
    np.testing.assert_array_equal(pair_differences(again, examples), pair_differences(encoder, examples))
    assert float(again.slope) == float(encoder.slope)
    assert not any(weight.requires_grad for weight in again.parameters())
