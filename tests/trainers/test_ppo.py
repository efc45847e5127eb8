"""PPO on a tiny model: agreement with an obvious definition, invariants, exactness, and that it learns a toy task."""

import math

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
from gemma_align.config.methods import PPOConfig
from gemma_align.trainers.ppo import PPO
from gemma_align.trainers.shaping import ScoreShaping


def make(policy, term=vowels, rl=RL, seed=0, **settings) -> PPO:
    return PPO(policy, make_roller(policy, term, rl, seed), rl, PPOConfig(**settings), seed=seed)


def moved(ppo: PPO, scale: float, seed: int = 5) -> None:
    """The policy and the critic, so that ratios aren't 1 and values neither 0 nor what they were."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in [*ppo.policy.trainable().values(), *ppo.own.weights.values()]:
            weight.add_(scale * torch.randn(weight.shape, generator=generator))


# --- agreement


def separate_values(ppo: PPO, prompt, ids) -> torch.Tensor:
    """The critic's values of one response, by transformers' own forward pass."""
    policy, size = ppo.policy, len(ids)
    inputs = torch.tensor([[*prompt, *ids]])
    if ppo.settings.critic == "trunk":
        states = policy.causal_lm.model(inputs).last_hidden_state[0]
        return states[len(prompt) - 1 : len(prompt) - 1 + size] @ ppo.critic.weight + ppo.critic.bias
    handles = []
    modules = dict(policy.causal_lm.named_modules())
    for name, ours in ppo.critic.beside.low_rank.items():
        layer = modules[name.replace("/", ".") + ".base_layer"]
        add = lambda _, x, out, ours=ours: out + 2.0 * (x[0] @ ours.a.T) @ ours.b.T  # noqa: E731
        handles.append(layer.register_forward_hook(add))
    with policy.base():
        states = policy.causal_lm.model(inputs).last_hidden_state[0]
    for handle in handles:
        handle.remove()
    head = ppo.critic.head
    return states[len(prompt) - 1 : len(prompt) - 1 + size] @ head.weight + head.bias


@pytest.mark.parametrize("critic", ["own", "trunk"])
@pytest.mark.parametrize(("estimator", "dual"), [("k1", None), ("k3", 1.05)])
def test_loss_and_gradient_are_those_of_separate_forwards(critic, estimator, dual):
    policy = tiny_policy(moved=0.1)
    ppo = make(policy, critic=critic, kl_estimator=estimator, dual_clip=dual, gamma=0.9, gae_lambda=0.8, value_coef=0.3)
    with torch.no_grad():  # away from the reference before anything is sampled
        for weight in policy.trainable().values():
            weight.mul_(1.2)
    moved(ppo, 0.05, seed=4)
    batch = ppo.prepare(PROMPTS[:3])
    scores = ppo.roller.reward.score([PROMPTS[p] for p in batch.responses.prompt_of], seen_answers(ppo, batch)).total
    responses = batch.responses
    tokens = float(responses.mask.sum())

    # advantages by the double sum, whitened
    rows = [
        (responses.prompt_ids[p], responses.ids[n, : int(responses.mask[n].sum())].tolist())
        for n, p in enumerate(responses.prompt_of.tolist())
    ]
    advantages, returns = [], []
    with torch.no_grad():
        for n, (prompt, ids) in enumerate(rows):
            size = len(ids)
            values = separate_values(ppo, prompt, ids)
            torch.testing.assert_close(batch.old_values[n, :size], values, rtol=1e-4, atol=1e-5)
            with ppo.roller.reference.in_place():
                ref = own_logprobs(policy, prompt, ids)
            away = own_logprobs(policy, prompt, ids) - ref
            assert float(away.abs().max()) > 1e-3
            kl = away if estimator == "k1" else (-away).exp() - 1 + away
            rewards = -0.05 * kl
            rewards[-1] += scores[n]
            following = [*values[1:].tolist(), 0.0]
            deltas = [float(rewards[t]) + 0.9 * following[t] - float(values[t]) for t in range(size)]
            gae = [sum((0.9 * 0.8) ** (k - t) * deltas[k] for k in range(t, size)) for t in range(size)]
            advantages.append(gae)
            returns.append([a + float(v) for a, v in zip(gae, values, strict=True)])
    flat = [a for row in advantages for a in row]
    mean = sum(flat) / len(flat)
    deviation = math.sqrt(sum((a - mean) ** 2 for a in flat) / (len(flat) - 1))
    moved(ppo, 0.05)
    loss, metrics = ppo.loss(batch, totals(batch))
    loss.backward()
    if ppo.own.loss is not None:
        value_loss, more = ppo.own.loss(batch, totals(batch))
        value_loss.backward()
        loss, metrics = loss + value_loss, metrics | more
    live = {**policy.trainable(), **ppo.own.weights}
    found = {name: weight.grad.clone() for name, weight in live.items()}
    for weight in live.values():
        weight.grad = None

    slow = torch.zeros(())
    for n, (prompt, ids) in enumerate(rows):
        now, values = own_logprobs(policy, prompt, ids), separate_values(ppo, prompt, ids)
        for t in range(len(ids)):
            r, a = (now[t] - batch.old_logprobs[n, t]).exp(), (advantages[n][t] - mean) / deviation
            step = -torch.minimum(r * a, r.clamp(0.8, 1.2) * a)
            if dual is not None and a < 0:
                step = torch.minimum(step, torch.tensor(-dual * a))
            old = batch.old_values[n, t]
            held = old + (values[t] - old).clamp(-0.2, 0.2)
            missed = torch.maximum((values[t] - returns[n][t]) ** 2, (held - returns[n][t]) ** 2) / 2
            slow = slow + (step + 0.3 * missed) / tokens
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), abs=1e-5)
    assert set(metrics) == set(ppo.metrics)
    for name, weight in live.items():
        torch.testing.assert_close(found[name], weight.grad, rtol=2e-3, atol=2e-6, msg=name)


def own_logprobs(policy, prompt, ids) -> torch.Tensor:
    logits = policy.causal_lm(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
    return torch.stack([logits[len(prompt) - 1 + t, token] for t, token in enumerate(ids)])


def seen_answers(ppo, batch):
    """The batch's texts as a reward reads them."""
    from gemma_align.types import Answer

    responses = batch.responses
    return [
        Answer(ppo.policy.prompt_format.decode(responses.ids[n, : int(responses.mask[n].sum())].tolist()))
        for n in range(len(responses))
    ]


# --- what is known of the rollouts


@pytest.mark.parametrize("critic", ["own", "trunk"])
def test_at_its_start_the_ratio_is_one_the_divergence_nothing_and_the_values_small(critic):
    policy = tiny_policy(moved=0.1)
    ppo = make(policy, critic=critic)
    batch = ppo.prepare(PROMPTS[:3])
    with torch.no_grad():
        _, metrics = ppo.loss(batch, totals(batch))
    assert metrics["policy/moved"] == pytest.approx(0, abs=1e-6)
    assert metrics["policy/ratio"] == pytest.approx(1, abs=1e-4)
    assert metrics["policy/ratio_max"] == pytest.approx(1, abs=1e-3)
    sums, count = ppo.told()
    assert sums["policy/kl"] / count == pytest.approx(0, abs=1e-4)
    assert sums["policy/kl_coef"] / count == pytest.approx(0.05)
    assert 0 < float(batch.old_values.abs().max()) < 1
    mask = batch.responses.mask
    assert float(batch.advantages[mask].mean()) == pytest.approx(0, abs=1e-5)
    assert float(batch.advantages[mask].std()) == pytest.approx(1, abs=1e-3)
    for values in (batch.advantages, batch.returns, batch.old_values):
        assert float(values[~mask].abs().sum()) == 0


@pytest.mark.parametrize("critic", ["own", "trunk"])
def test_what_a_score_counts_from_changes_nothing_at_first(critic):
    """Values begin at the mean of the first scores. From 0 on, far below it, each response's end is its worst token."""
    low = {}
    for bias, shift in (("first_scores", 0.0), ("first_scores", -5.0), ("zero", -5.0)):
        policy = tiny_policy(moved=0.1)
        ppo = make(policy, lambda e, a, shift=shift: vowels(e, a) + shift, critic=critic, head_bias=bias)
        low[bias, shift] = ppo.prepare(PROMPTS[:3])
    here, there = (low["first_scores", shift] for shift in (0.0, -5.0))
    assert torch.equal(here.responses.ids, there.responses.ids)
    torch.testing.assert_close(there.advantages, here.advantages, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(there.returns[:, 0], here.returns[:, 0] - 5, atol=1e-3, rtol=1e-3)
    batch = low["zero", -5.0]
    counts = batch.responses.mask.sum(dim=1)
    last = batch.advantages[torch.arange(len(counts)), counts - 1]
    assert float(last.max()) < 0 < float(batch.advantages[counts > 2, 0].min())


def test_values_begin_once():
    ppo = make(tiny_policy(moved=0.1), lambda e, a: 3.0)
    ppo.prepare(PROMPTS[:3])
    assert ppo.critic.head.bias.item() == 3.0
    moved(ppo, 0.05)
    bias = ppo.critic.head.bias.item()
    ppo.prepare(PROMPTS[:3])
    assert ppo.critic.head.bias.item() == bias != 3.0
    again = make(tiny_policy(moved=0.1), lambda e, a: 3.0)
    again.load_state_dict(ppo.state_dict())
    again.prepare(PROMPTS[:3])
    assert again.critic.head.bias.item() == 0  # its weights come with the loop's state, not from a second beginning


def test_an_own_critic_and_the_policy_don_t_touch_each_other():
    policy = tiny_policy(moved=0.1)
    ppo = make(policy)
    moved(ppo, 0.05)
    batch = ppo.prepare(PROMPTS[:3])
    before = ppo.values(batch.responses)
    with torch.no_grad():
        logprobs = policy.logprobs(batch.responses)
        for weight in policy.trainable().values():
            weight.mul_(3.0)
        assert torch.equal(ppo.values(batch.responses), before)
        for weight in policy.trainable().values():
            weight.div_(3.0)
        for weight in ppo.own.weights.values():
            weight.mul_(3.0)
        torch.testing.assert_close(policy.logprobs(batch.responses), logprobs)
        assert not torch.allclose(ppo.values(batch.responses), before)
    loss, _ = ppo.loss(batch, totals(batch))
    loss.backward()
    assert all(weight.grad is None for weight in ppo.own.weights.values())
    value_loss, _ = ppo.value_loss(batch, totals(batch))
    grads = {name: weight.grad.clone() for name, weight in policy.trainable().items()}
    value_loss.backward()
    assert all(torch.equal(grads[name], weight.grad) for name, weight in policy.trainable().items())
    assert all(weight.grad is not None for weight in ppo.own.weights.values())
    assert policy.model.training  # as the policy's own pass left it


def test_a_trunk_s_values_move_the_policy():
    policy = tiny_policy(moved=0.1)
    gradients = []
    for coef in (0.0, 10.0):
        ppo = make(policy, critic="trunk", value_coef=coef)
        moved(ppo, 0.0)
        batch = ppo.prepare(PROMPTS[:3])
        loss, _ = ppo.loss(batch, totals(batch))
        loss.backward()
        gradients.append({name: weight.grad.clone() for name, weight in policy.trainable().items()})
        policy.model.zero_grad()
    assert any(not torch.allclose(gradients[0][name], gradients[1][name]) for name in gradients[0])
    assert ppo.own.loss is None


def test_values_are_those_of_smaller_batches():
    policy = tiny_policy(moved=0.1)
    for critic in ("own", "trunk"):
        ppo = make(policy, critic=critic)
        moved(ppo, 0.05)
        responses = ppo.prepare(PROMPTS[:3]).responses
        whole = ppo.values(responses)
        policy.max_tokens = 1
        torch.testing.assert_close(ppo.values(responses), whole, rtol=1e-4, atol=1e-5)
        policy.max_tokens = 1024
    assert ppo.values(ppo.prepare([]).responses).shape == (0, 0)


def test_the_coefficient_follows_its_target():
    policy = tiny_policy(moved=0.1)
    ppo = make(policy, kl_target=0.5, kl_horizon=20.0)
    ppo.prepare(PROMPTS[:3])  # 12 responses at divergence 0: a fifth too low
    assert ppo.kl_coef == pytest.approx(0.05 * (1 - 0.2 * 12 / 20))
    moved(ppo, 0.5)
    before = ppo.kl_coef
    ppo.prepare(PROMPTS[:3])
    assert ppo.kl_coef == pytest.approx(before * (1 + 0.2 * 12 / 20))
    other = make(policy, kl_target=0.5)
    other.load_state_dict(ppo.state_dict())
    assert other.kl_coef == ppo.kl_coef


def test_shaping_by_hand():
    scores, finished = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])
    assert ScoreShaping(PPOConfig())(scores, finished).tolist() == [1, 2, 6]
    assert ScoreShaping(PPOConfig(unfinished_score=-1.0))(scores, finished).tolist() == [1, -1, 6]
    assert ScoreShaping(PPOConfig(unfinished_penalty=0.5))(scores, finished).tolist() == [1, 1.5, 6]
    assert ScoreShaping(PPOConfig(clip_scores=1.5))(scores, finished).tolist() == [1, 1.5, 1.5]
    shaping = ScoreShaping(PPOConfig(normalise_scores=True))
    deviation = math.sqrt(14 / 3)
    assert shaping(scores, finished).tolist() == pytest.approx([-2 / deviation, -1 / deviation, 3 / deviation])
    again = ScoreShaping(PPOConfig(normalise_scores=True))
    again.load_state_dict(shaping.state_dict())
    one = torch.tensor([11.0])  # of 1, 2, 6, 11: mean 5, variance 15.5
    assert again(one, torch.tensor([True])).tolist() == pytest.approx([6 / math.sqrt(15.5)])


# --- exactness


@pytest.mark.parametrize("critic", ["own", "trunk"])
def test_microbatches_change_no_weight(critic):
    results = []
    for budget in (100_000, 40):
        policy = tiny_policy(moved=0.05)
        loop = make_loop(
            policy, make(policy, critic=critic, num_passes=1), max_steps=1, max_tokens_per_microbatch=budget
        )
        metrics = [u.metrics for u in loop]
        results.append((weights(loop), metrics))
    (whole, whole_metrics), (split, split_metrics) = results
    assert any(name.startswith("critic.") for name in whole)
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-3, atol=1e-4, msg=name)
    for name, value in whole_metrics[0].items():
        assert split_metrics[0][name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("critic", ["own", "trunk"])
def test_a_stage_that_goes_on_from_its_state_ends_in_the_same_bits(critic):
    settings = {"critic": critic, "num_passes": 2, "num_minibatches": 2, "normalise_scores": True, "kl_target": 1.0}

    def loop(seed=0, moved=0.05):
        policy = tiny_policy(seed=seed, moved=moved)
        return make_loop(policy, make(policy, **settings), max_steps=4)

    require_exact_resume(loop, lambda: loop(seed=99, moved=0.3))


def test_each_pass_takes_every_response_once_in_an_order_of_its_own():
    policy = tiny_policy(moved=0.05)
    ppo = make(policy, num_passes=2, num_minibatches=3)
    batch, loop = ppo.prepare(PROMPTS[:3]), make_loop(policy, ppo)
    orders = []
    for number in range(2):
        parts = list(loop._minibatches(batch, totals(batch), number))
        assert [part_totals.num_sequences for _, part_totals in parts] == [4, 4, 4]
        assert sum(part_totals.num_tokens for _, part_totals in parts) == batch.responses.mask.sum()
        assert all(len(part) for part, _ in parts)
        orders.append([round(float(value), 5) for part, _ in parts for value in part.returns[:, 0]])
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(round(float(v), 5) for v in batch.returns[:, 0])
    assert orders[0] != orders[1]
    many = make(policy, num_minibatches=50)
    parts = make_loop(policy, many)._minibatches(batch, totals(batch), 0)
    assert [part_totals.num_sequences for _, part_totals in parts] == [1] * 12  # parts that would be empty are left out


def test_the_critic_s_gradient_is_clipped_by_itself_and_has_a_rate_of_its_own():
    policy = tiny_policy(moved=0.05)
    far = make_loop(
        policy, make(policy, critic_learning_rate=1e-9, value_coef=1e6, num_passes=1, head_bias="zero"), max_steps=1
    )
    before = weights(far)
    (update,) = far
    after = weights(far)
    assert update.metrics["optimizer/own_grad_norm"] > 1e3 > update.metrics["optimizer/grad_norm"]
    for name, weight in before.items():
        most = float((after[name] - weight).abs().max())
        assert most < 1e-8 if name.startswith("critic.") else most > 1e-4, name


# --- learning


def test_the_critic_comes_to_foresee_the_scores():
    """Scores that depend on the prompt alone: after some updates the values tell the prompts apart."""
    policy = tiny_policy(moved=0.05)
    rl = RLConfig(num_prompts=3, group_size=4, max_response_tokens=3, kl_coef=0.0)
    settings = {"value_clip_eps": None, "critic_learning_rate": 1e-2, "num_passes": 2, "value_coef": 1.0}
    ppo = make(policy, term=lambda example, answer: float(len(example.prompt) > 15), rl=rl, **settings)
    told = [
        u.metrics["value/explained_variance"]
        for u in make_loop(policy, ppo, PROMPTS[:3], max_steps=14, learning_rate=1e-6)
    ]
    assert told[0] < 0.3
    assert min(told[-3:]) > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_it_learns_a_toy_task(seed):
    """From chance to at least 0.9 of the highest reward, in seconds; all weights, as in GRPO's."""
    policy = tiny_policy(seed=seed, lora=None)
    rl = RLConfig(num_prompts=4, group_size=8, max_response_tokens=2, kl_coef=0.0)
    ppo = make(policy, term=early, rl=rl, seed=seed, critic="trunk", num_passes=2)
    updates = [u.metrics for u in make_loop(policy, ppo, max_steps=20, batch_size=4, learning_rate=1e-2)]
    start = sum(u["reward/total"] for u in updates[:3]) / 3
    end = sum(u["reward/total"] for u in updates[-5:]) / 5
    assert start < 0.5
    assert end >= 0.9
