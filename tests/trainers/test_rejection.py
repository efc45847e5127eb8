"""Rejection sampling on a tiny model: what is kept, the loss, exactness, and that it learns a toy task."""

import pytest
import torch
from tests.trainers.common import (
    PROMPTS,
    RL,
    early,
    make_loop,
    make_roller,
    require_exact_resume,
    tiny_policy,
    totals,
    vowels,
    weights,
)

from gemma_align.config import RLConfig
from gemma_align.trainers.rejection import Rejection, best_of_groups


def make(policy, term=vowels, rl=RL, seed=0) -> Rejection:
    return Rejection(policy, make_roller(policy, term, rl, seed))


def test_the_best_of_each_group_by_hand():
    scores = torch.tensor([1.0, 3.0, 3.0, 2.0, 2.0, -1.0, 0.5])
    assert best_of_groups(scores, torch.tensor([0, 0, 0, 1, 1, 2, 2])).tolist() == [1, 6]
    assert best_of_groups(scores[:0], torch.zeros(0, dtype=torch.long)).tolist() == []


def test_the_loss_is_that_of_the_best_alone():
    policy = tiny_policy(moved=0.1)
    rejection = make(policy)
    scored = make(policy).roller.roll(PROMPTS[:3])
    batch = rejection.prepare(PROMPTS[:3])
    best = scored.scores.total.view(3, 4).argmax(dim=1) + torch.arange(3) * 4
    assert torch.equal(batch.responses.ids, scored.rollouts.responses.select(best).ids)
    loss, metrics = rejection.loss(batch, totals(batch))
    expected = -float(scored.rollouts.logprobs[best].sum()) / float(batch.responses.mask.sum())
    assert loss.item() == metrics["loss/rejection"] == pytest.approx(expected, abs=1e-4)
    sums, count = rejection.told()
    assert count == 12  # of all samples, not of those that were kept
    assert sums["reward/total"] == pytest.approx(float(scored.scores.total.sum()))


def test_equal_scores_move_nothing():
    policy = tiny_policy(moved=0.1)
    before = weights(policy)
    (update,) = make_loop(policy, make(policy, term=lambda example, answer: 0.3), max_steps=1)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(policy).items())
    assert update.metrics["optimizer/skipped"] == 0


def test_a_stage_that_goes_on_from_its_state_ends_in_the_same_bits():
    def loop(seed=0, moved=0.05):
        policy = tiny_policy(seed=seed, moved=moved)
        return make_loop(policy, make(policy), max_steps=4)

    require_exact_resume(loop, lambda: loop(seed=99, moved=0.3))


@pytest.mark.parametrize("seed", range(5))
def test_it_learns_a_toy_task(seed):
    """From chance to at least 0.9 of the highest reward, in seconds; all weights, as in GRPO's."""
    policy = tiny_policy(seed=seed, lora=None)
    rl = RLConfig(num_prompts=4, group_size=8, max_response_tokens=2, kl_coef=0.0)
    rejection = make(policy, term=early, rl=rl, seed=seed)
    updates = [u.metrics for u in make_loop(policy, rejection, max_steps=40, batch_size=4, learning_rate=1e-2)]
    assert sum(u["reward/total"] for u in updates[:3]) / 3 < 0.5
    assert sum(u["reward/total"] for u in updates[-5:]) / 5 >= 0.9


def test_a_batch_with_nothing_best_takes_no_step_however_much_momentum_there_is():
    policy = tiny_policy(moved=0.1)
    constant = [False]
    rejection = make(policy, term=lambda example, answer: 0.3 if constant[0] else len(answer.text))
    loop = make_loop(policy, rejection, max_steps=2, learning_rate=1e-2, weight_decay=0.1)
    updates = iter(loop)
    next(updates)
    before, constant[0] = weights(policy), True
    assert next(updates).metrics["optimizer/skipped"] == 0
    assert all(torch.equal(weight, before[name]) for name, weight in weights(policy).items())
