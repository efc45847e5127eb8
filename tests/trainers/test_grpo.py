"""GRPO on a tiny model: agreement with an obvious definition, invariants, exactness, and that it learns a toy task."""

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

from gemma_align.config import LoraConfig, RLConfig
from gemma_align.config.methods import GRPOConfig
from gemma_align.trainers.grpo import GRPO, RolloutBatch
from gemma_align.trainers.spares import Spares
from gemma_align.types import Answer, Example


def make(policy, term=vowels, rl=RL, seed=0, spares=None, **settings) -> GRPO:
    return GRPO(policy, make_roller(policy, term, rl, seed), rl, GRPOConfig(**settings), spares)


# --- agreement


@pytest.mark.parametrize(
    ("norm", "estimator", "ratio"),
    [("token", "k3", "token"), ("response", "k2", "token"), ("constant", "k3", "token"), ("token", "k3", "sequence")],
)
def test_loss_and_gradient_are_those_of_separate_forwards(norm, estimator, ratio):
    policy = tiny_policy(moved=0.1)
    grpo = make(policy, loss=norm, kl_estimator=estimator, ratio=ratio, clip_eps_high=0.3)
    with torch.no_grad():
        batch = grpo.prepare(PROMPTS[:3])
        for weight in policy.trainable().values():  # so that ratios aren't 1
            weight.mul_(1.3)
    loss, metrics = grpo.loss(batch, totals(batch))
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in policy.trainable().items()}
    policy.model.zero_grad()

    responses = batch.responses
    slow, kl_part, moved, tokens = torch.zeros(()), torch.zeros(()), 0.0, float(responses.mask.sum())
    for n in range(len(batch)):
        prompt, size = responses.prompt_ids[responses.prompt_of[n]], int(responses.mask[n].sum())
        ids = responses.ids[n, :size].tolist()
        logits = policy.causal_lm(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
        own = torch.stack([logits[len(prompt) - 1 + t, ids[t]] for t in range(size)])
        log_ratios = own - batch.old_logprobs[n, :size]
        if ratio == "sequence":
            log_ratios = log_ratios.mean().expand(size)
        for t in range(size):
            r, own_r, a = log_ratios[t].exp(), (own[t] - batch.old_logprobs[n, t]).exp(), batch.advantages[n]
            step = -torch.minimum(r * a, r.clamp(0.8, 1.3) * a)
            away = own[t] - batch.ref_logprobs[n, t]
            kl = own_r.detach() * away**2 / 2 if estimator == "k2" else own_r * ((-away).exp() - 1 + away)
            moved = moved + (own_r - 1 - own_r.log()).item() / tokens
            divisor = {"token": tokens, "response": size * len(batch), "constant": 6.0 * len(batch)}[norm]
            slow = slow + (step + 0.05 * kl) / divisor
            kl_part = kl_part + kl / divisor
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), abs=1e-5)
    assert metrics["loss/kl"] == pytest.approx(kl_part.item(), abs=1e-5)
    assert metrics["policy/moved"] == pytest.approx(moved, abs=1e-5)
    for name, weight in policy.trainable().items():
        torch.testing.assert_close(found[name], weight.grad, rtol=2e-3, atol=1e-6, msg=name)
    assert set(metrics) == set(grpo.metrics)


# --- what the rollouts know


def test_on_policy_the_ratio_is_one_and_the_reference_is_the_policy():
    policy = tiny_policy(moved=0.1)
    grpo = make(policy)
    with torch.no_grad():
        batch = grpo.prepare(PROMPTS[:3])
        _, metrics = grpo.loss(batch, totals(batch))
    assert (len(batch), batch.responses.prompt_of.tolist()) == (12, [0] * 4 + [1] * 4 + [2] * 4)
    assert metrics["policy/moved"] == pytest.approx(0, abs=1e-6)
    assert metrics["policy/clip_low"] == metrics["policy/clip_high"] == 0
    assert metrics["policy/entropy"] > 0
    sums, count = grpo.told()
    assert count == 12
    assert sums["policy/kl"] == pytest.approx(0, abs=1e-4)
    assert sums["rollout/tokens"] == batch.responses.mask.sum()
    with torch.no_grad():
        torch.testing.assert_close(policy.logprobs(batch.responses), batch.old_logprobs, rtol=1e-4, atol=1e-4)
    groups = batch.advantages.view(3, 4)
    torch.testing.assert_close(groups.sum(dim=1), torch.zeros(3), rtol=0, atol=1e-4)


def test_divergence_is_told_also_where_it_costs_nothing():
    policy = tiny_policy(moved=0.1)
    grpo = make(policy, rl=RL.model_copy(update={"kl_coef": 0.0}))
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.mul_(1.5)
        grpo.prepare(PROMPTS[:3])
    assert grpo.told()[0]["policy/kl"] > 0.01


@pytest.mark.parametrize("baseline", ["group", "leave_one_out"])
def test_equal_scores_move_nothing(baseline):
    policy = tiny_policy(moved=0.1)
    rl = RL.model_copy(update={"kl_coef": 0.0, "group_size": 7})
    grpo = make(policy, term=lambda example, answer: 0.3, rl=rl, baseline=baseline)
    before = weights(policy)
    updates = list(make_loop(policy, grpo, max_steps=2))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(policy).items())
    assert [u.metrics["rollout/dead_groups"] for u in updates] == [1.0, 1.0]


def test_the_tune_split_is_told_what_greedy_responses_can_tell():
    sums, count = make(tiny_policy(moved=0.1)).roller.tune(PROMPTS[:3])
    assert count == 3
    assert sums["loss"] == -sums["reward_total"]
    assert {"rollout_tokens", "rollout_unfinished", "reward_term_term"} <= set(sums)
    assert not {"rollout_dead_groups", "reward_std_in_group", "policy_kl", "policy_kl_k1"} & set(sums)


def test_dropout_leaves_the_ratio_at_one():
    lora = LoraConfig(r=4, dropout=0.5)
    policy = tiny_policy(moved=0.1, lora=lora)
    grpo = make(policy)
    with torch.no_grad():
        batch = grpo.prepare(PROMPTS[:3])
    moved = []
    for on in (True, False, True):
        policy.use_dropout(on)
        loss, metrics = grpo.loss(batch, totals(batch))
        moved.append(metrics["policy/moved"])
        assert loss.requires_grad
    assert min(moved[0], moved[2]) > 1e-3
    assert moved[1] == pytest.approx(0, abs=1e-6)


def test_samples_depend_on_the_example_and_not_on_its_company():
    policy = tiny_policy(moved=0.1)
    together = make(policy).roller.roll(PROMPTS[:3]).rollouts
    alone = make(policy).roller.roll(PROMPTS[2:3]).rollouts
    assert together.texts[8:] == alone.texts
    other = make(policy, seed=1).roller.roll(PROMPTS[:3]).rollouts
    assert other.texts != together.texts
    roller = make(policy).roller
    assert roller.roll(PROMPTS[:3]).rollouts.texts != roller.roll(PROMPTS[:3]).rollouts.texts
    empty = make(policy)
    with torch.no_grad():
        batch = empty.prepare([])
    assert len(batch) == 0
    assert set(empty.told()[0]) >= {"reward/total", "reward/term/term", "policy/kl"}


def test_the_reward_reads_the_reference_s_log_probabilities_without_the_end():
    seen: list[Answer] = []

    def term(example: Example, answer: Answer) -> float:
        seen.append(answer)
        return 0.0

    policy = tiny_policy(moved=0.1)
    scored = make(policy, term=term, rl=RL.model_copy(update={"max_response_tokens": 40})).roller.roll(PROMPTS)
    for n, answer in enumerate(seen):
        size = int(scored.rollouts.responses.mask[n].sum())
        known = answer.reference_logprobs
        assert known is not None
        assert len(known) == size - answer.finished
        assert list(known) == pytest.approx(scored.ref_logprobs[n, : len(known)].tolist())
    assert {answer.finished for answer in seen} == {True, False}


# --- other prompts for groups that say nothing

MUTE = ("0", "1")  # prompts whose responses all score alike, among the first three of PROMPTS
SPARES = Spares(PROMPTS, max_refills=2, seed=7)


def mostly(example: Example, answer: Answer) -> float:
    return 0.3 if example.id in MUTE else vowels(example, answer)


def flat(example: Example, answer: Answer) -> float:
    return 0.3


def prepared(grpo, examples):
    with torch.no_grad():
        return grpo.prepare(examples)


def test_a_dead_group_is_replaced_by_a_whole_one_of_another_prompt_and_a_live_one_is_not():
    policy = tiny_policy(moved=0.1)
    asked = []

    def term(example: Example, answer: Answer) -> float:
        asked.append(example.id)
        return mostly(example, answer)

    grpo = make(policy, term=term, spares=SPARES)
    batch = prepared(grpo, PROMPTS[:3])
    expected, waiting = ["0", "1", "2"], ["0", "1"]  # the names of the groups that are dead
    for _ in range(SPARES.max_refills):
        names = [f"instead of {name}" for name in waiting]
        drawn = [SPARES.instead_of(name, 0).id for name in names]
        expected += drawn
        waiting = [name for name, other in zip(names, drawn, strict=True) if other in MUTE]
    assert asked == [name for name in expected for _ in range(4)]
    live = [name for name in expected if name not in MUTE]
    assert 1 < len(live) <= 3
    assert batch.responses.prompt_of.tolist() == [p for p in range(len(live)) for _ in range(4)]
    prompts = {e.id: policy.prompt_format.prompt_ids(e) for e in PROMPTS}
    assert list(batch.responses.prompt_ids) == [prompts[name] for name in live]
    assert (batch.advantages.view(-1, 4).std(dim=1) > 0).all()
    with torch.no_grad():  # each row still stands beside its own
        torch.testing.assert_close(policy.logprobs(batch.responses), batch.old_logprobs, rtol=1e-4, atol=1e-4)
    assert torch.equal(batch.responses.ids[:4], prepared(make(policy, term=mostly), PROMPTS[:3]).responses.ids[8:])
    sums, count = grpo.told()
    assert count == 4 * len(expected)  # all that was sampled is told of
    assert sums["rollout/refills"] / count == len(expected) - 3
    assert sums["rollout/all_tokens"] / count == sums["rollout/tokens"]
    assert sums["rollout/dead_groups"] == 4 * (len(expected) - len(live))


def test_where_nothing_says_anything_it_ends_and_nothing_is_learned():
    policy = tiny_policy(moved=0.1)
    before = weights(policy)
    updates = list(make_loop(policy, make(policy, term=flat, spares=SPARES), max_steps=2))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(policy).items())
    assert [u.metrics["rollout/refills"] for u in updates] == [6.0, 6.0]
    assert [u.metrics["rollout/dead_groups"] for u in updates] == [1.0, 1.0]
    assert all(u.metrics["rollout/all_tokens"] == 36 * u.metrics["rollout/tokens"] for u in updates)


def test_without_dead_groups_it_is_plain_grpo_to_the_bit():
    ends = []
    for spares in (None, SPARES):
        policy = tiny_policy(moved=0.05)
        updates = [u.metrics for u in make_loop(policy, make(policy, spares=spares), max_steps=2)]
        assert [u["rollout/dead_groups"] for u in updates] == [0.0, 0.0]
        ends.append((updates, weights(policy)))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(weight, ends[1][1][name]) for name, weight in ends[0][1].items())


def test_what_replaces_a_group_does_not_depend_on_its_company():
    """So every number of processes has the same groups, each sharing some of the prompts."""
    policy = tiny_policy(moved=0.1)

    def replaced(examples):
        scored = make(policy, term=flat).roller.roll(examples, SPARES)
        return {(e.id, scored.rollouts.texts[4 * i : 4 * i + 4]) for i, e in enumerate(scored.rollouts.examples)}

    together = replaced(PROMPTS[:2])
    assert len(together) == 6
    assert replaced(PROMPTS[:1]) | replaced(PROMPTS[1:2]) == together
    assert len(prepared(make(policy, spares=SPARES), [])) == 0


def test_a_stage_with_replaced_groups_goes_on_in_the_same_bits():
    def loop(seed=0, moved=0.05):
        policy = tiny_policy(seed=seed, moved=moved)
        found = make_loop(policy, make(policy, term=mostly, spares=SPARES), max_steps=5)
        return found

    assert sum(u.metrics["rollout/refills"] for u in loop()) > 0
    require_exact_resume(loop, lambda: loop(seed=99, moved=0.3))


def test_nearing_the_limit_is_a_part_of_the_score():
    policy = tiny_policy(moved=0.1)
    long = RL.model_copy(update={"max_response_tokens": 40})
    plain, costly = (
        make(policy, rl=long.model_copy(update={"overlong_buffer": buffer})).roller.roll(PROMPTS) for buffer in (0, 30)
    )
    lengths = plain.rollouts.responses.mask.sum(dim=1)
    assert lengths.min() < lengths.max() == 40
    cost = (lengths - 10).clamp(min=0) / 30
    torch.testing.assert_close(costly.scores.total, plain.scores.total - cost)
    torch.testing.assert_close(costly.scores.parts["overlong"], -cost)
    assert "overlong" not in plain.scores.parts


# --- exactness


@pytest.mark.parametrize("max_tokens", [1, 40])
def test_microbatches_change_no_weight(max_tokens):
    results = []
    for budget in (100_000, max_tokens):
        policy = tiny_policy(moved=0.05)
        metrics = [u.metrics for u in make_loop(policy, make(policy), max_steps=1, max_tokens_per_microbatch=budget)]
        results.append((weights(policy), metrics))
    (whole, whole_metrics), (split, split_metrics) = results
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-3, atol=5e-5, msg=name)
    for name, value in whole_metrics[0].items():
        assert split_metrics[0][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("passes", [1, 2])
def test_a_stage_that_goes_on_from_its_state_ends_in_the_same_bits(passes):
    def loop(seed=0, moved=0.05):
        policy = tiny_policy(seed=seed, moved=moved)
        return make_loop(policy, make(policy, num_passes=passes), max_steps=4)

    require_exact_resume(loop, lambda: loop(seed=99, moved=0.3))


def test_more_passes_leave_the_policy_that_sampled():
    policy = tiny_policy(moved=0.05)
    once = [u.metrics for u in make_loop(policy, make(policy), max_steps=1, learning_rate=1e-2)]
    policy = tiny_policy(moved=0.05)
    twice = [u.metrics for u in make_loop(policy, make(policy, num_passes=2), max_steps=1, learning_rate=1e-2)]
    assert once[0]["policy/moved"] == pytest.approx(0, abs=1e-6)
    assert twice[0]["policy/moved"] > 1e-4


# --- learning


@pytest.mark.parametrize("seed", range(5))
def test_it_learns_a_toy_task(seed):
    """From chance to at least 0.9 of the highest reward, in seconds. All weights: a random model's attention, which an
    adapter on queries and values turns, says next to nothing about its words."""
    policy = tiny_policy(seed=seed, lora=None)
    rl = RLConfig(num_prompts=4, group_size=8, max_response_tokens=2, kl_coef=0.0)
    grpo = make(policy, term=early, rl=rl, seed=seed)
    updates = [u.metrics for u in make_loop(policy, grpo, max_steps=25, batch_size=4, learning_rate=1e-2)]
    start = sum(u["reward/total"] for u in updates[:3]) / 3
    end = sum(u["reward/total"] for u in updates[-5:]) / 5
    assert start < 0.5
    assert end >= 0.9
    assert updates[-1]["policy/kl"] > 0.5
    assert isinstance(grpo.prepare(PROMPTS[:1]), RolloutBatch)
