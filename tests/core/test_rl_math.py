"""The mathematics of PPO and GRPO: by hand, against second definitions, by finite differences, by invariants."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from gemma_align.core.advantages import (
    explained_variance,
    gae,
    group_relative,
    leave_one_out,
    overlong,
    token_rewards,
    whiten,
)
from gemma_align.core.kl import MAX_LOG_RATIO, adapted, kl_estimate, kl_loss, log_ratio
from gemma_align.core.surrogate import (
    clipped,
    clipped_surrogate,
    clipped_value_loss,
    clipped_values,
    of_ratios,
)

MASK = torch.tensor([[True, True, True, False], [True, False, False, False]])


def doubles(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- divergence


def test_estimators_by_hand():
    ratios = torch.tensor([[math.log(2.0), 0.0, -math.log(2.0)]])
    torch.testing.assert_close(kl_estimate(ratios, "k1"), ratios)
    torch.testing.assert_close(kl_estimate(ratios, "k2"), ratios.square() / 2)
    expected = torch.tensor([[0.5 - 1 + math.log(2), 0.0, 2 - 1 - math.log(2)]])
    torch.testing.assert_close(kl_estimate(ratios, "k3"), expected)


@pytest.mark.parametrize(("estimator", "unbiased"), [("k1", True), ("k2", False), ("k3", True)])
def test_expected_values_are_the_divergence(estimator, unbiased):
    p, q = doubles(2, 50).softmax(-1)
    exact = (p * (p / q).log()).sum()
    expected = (p * kl_estimate((p / q).log()[None], estimator)[0]).sum()
    assert (expected.item() == pytest.approx(exact.item())) == unbiased


@pytest.mark.parametrize("estimator", ["k2", "k3"])
@pytest.mark.parametrize("moved", [0.0, 0.7])
def test_as_a_loss_term_the_gradient_is_the_divergence_s(estimator, moved):
    """Over all words as the sampling policy weighs them, whether or not the policy has moved since."""
    logits, q = doubles(20).requires_grad_(), doubles(20, seed=1).softmax(-1)
    old = (logits.detach() + moved * doubles(20, seed=2)).log_softmax(-1)
    logprobs = logits.log_softmax(-1)
    (logprobs.exp() * (logprobs - q.log())).sum().backward()
    exact = logits.grad.clone()
    logits.grad = None
    logprobs = logits.log_softmax(-1)
    (old.exp() * kl_loss((logprobs - q.log())[None], (logprobs - old)[None], estimator)[0]).sum().backward()
    torch.testing.assert_close(logits.grad, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("estimator", "right"), [("k1", False), ("k2", True), ("k3", False)])
def test_which_gradient_is_the_divergences_on_policy(estimator, right):
    """Over all words with the sampling probabilities held fixed, which is what a loss on samples sees."""
    logits, q = doubles(20).requires_grad_(), doubles(20, seed=1).softmax(-1)
    logprobs = logits.log_softmax(-1)
    (logprobs.exp() * (logprobs - q.log())).sum().backward()
    exact = logits.grad.clone()
    logits.grad = None
    logprobs = logits.log_softmax(-1)
    (logprobs.exp().detach() * kl_estimate((logprobs - q.log())[None], estimator)[0]).sum().backward()
    assert torch.allclose(logits.grad, exact, atol=1e-12) == right
    if estimator == "k1":
        assert logits.grad.abs().max() < 1e-12  # nothing is pulled anywhere
    if estimator == "k3":  # with the ratio to the sampling policy, which is 1 but has a gradient
        logits.grad = None
        logprobs = logits.log_softmax(-1)
        weight = (logprobs - logprobs.detach()).exp()
        k3 = kl_estimate((logprobs - q.log())[None], "k3")[0]
        (logprobs.exp().detach() * weight * k3).sum().backward()
        assert torch.allclose(logits.grad, exact, atol=1e-12)


def test_padding_never_reaches_exp():
    logprobs = torch.tensor([[0.0, -1.0, float("nan"), float("-inf")]], requires_grad=True)
    mask = torch.tensor([[True, True, False, False]])
    ratios = log_ratio(logprobs, torch.tensor([[-1.0, -2e5, 3.0, float("nan")]]), mask)
    torch.testing.assert_close(ratios.detach(), torch.tensor([[1.0, MAX_LOG_RATIO, 0.0, 0.0]]))
    ratios.exp().sum().backward()
    assert torch.isfinite(logprobs.grad).all()


# --- advantages of groups

GROUP = torch.tensor([0, 0, 1, 1, 1, 2])


def test_groups_by_hand():
    scores = torch.tensor([1.0, 3.0, 2.0, 2.0, 5.0, 7.0])
    torch.testing.assert_close(group_relative(scores, GROUP, "none"), torch.tensor([-1.0, 1.0, -1.0, -1.0, 2.0, 0.0]))
    std = [math.sqrt(2), math.sqrt(3)]
    expected = [-1 / std[0], 1 / std[0], -1 / std[1], -1 / std[1], 2 / std[1], 0.0]
    torch.testing.assert_close(group_relative(scores, GROUP), torch.tensor(expected), rtol=2e-4, atol=0)
    torch.testing.assert_close(
        leave_one_out(scores, GROUP), torch.tensor([-2.0, 2.0, -1.5, -1.5, 3.0, 0.0])
    )  # others: 3, 1; 3.5, 3.5, 2; none


def test_nearing_the_limit_costs_evenly():
    lengths = torch.tensor([0, 1, 12, 13, 14, 16])
    assert overlong(lengths, 16, 4).tolist() == [0.0, 0.0, 0.0, -0.25, -0.5, -1.0]
    assert overlong(lengths, 16, 16).tolist() == [0.0, -1 / 16, -0.75, -13 / 16, -14 / 16, -1.0]


@pytest.mark.parametrize("scale", ["group", "none"])
@pytest.mark.parametrize("value", [0.1, 1e6 + 0.3, -7.3e-5])
def test_a_group_of_equal_scores_has_no_advantage_at_all(scale, value):
    scores = torch.full((7,), value)
    assert group_relative(scores, torch.zeros(7, dtype=torch.long), scale).tolist() == [0.0] * 7


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-100, 100)), min_size=1, max_size=24), st.randoms())
def test_groups_don_t_see_each_other_and_order_changes_nothing(rows, rng):
    scores = torch.tensor([value for _, value in rows], dtype=torch.float64)
    group = torch.tensor([g for g, _ in rows])
    found = group_relative(scores, group)
    for g in set(group.tolist()):
        own = scores[group == g]
        alone = group_relative(own, torch.zeros(len(own), dtype=torch.long))
        torch.testing.assert_close(found[group == g], alone)
        assert abs(float(alone.sum())) < 1e-6
    order = list(range(len(rows)))
    rng.shuffle(order)
    torch.testing.assert_close(group_relative(scores[order], group[order]), found[order])


# --- advantages of tokens


def test_the_score_stands_at_the_last_token():
    kl = torch.tensor([[0.1, 0.2, 0.3, 9.0], [0.5, 9.0, 9.0, 9.0]])
    found = token_rewards(torch.tensor([1.0, -2.0]), kl, MASK, 0.5)
    torch.testing.assert_close(found, torch.tensor([[-0.05, -0.1, 0.85, 0.0], [-2.25, 0.0, 0.0, 0.0]]))
    nothing = token_rewards(torch.tensor([5.0]), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), 0.5)
    assert nothing.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_gae_is_its_double_sum(gamma, lam):
    mask = torch.arange(7)[None] < torch.tensor([7, 3, 1, 0])[:, None]
    rewards, values = (torch.where(mask, doubles(4, 7, seed=seed), 0.0) for seed in (0, 1))
    found = gae(rewards, values, mask, gamma, lam)
    for n in range(4):
        length = int(mask[n].sum())
        for t in range(7):
            expected = 0.0
            for later in range(t, length):
                following = values[n, later + 1] if later + 1 < length else 0.0
                delta = rewards[n, later] + gamma * following - values[n, later]
                expected += (gamma * lam) ** (later - t) * float(delta)
            assert found[n, t].item() == pytest.approx(expected, abs=1e-12)
    if lam == 1.0:  # what is still to come, less what was expected
        assert (found + values)[1, 0].item() == pytest.approx(sum(gamma**i * float(rewards[1, i]) for i in range(3)))


def test_whitening_looks_at_what_counts_alone():
    values = torch.tensor([[1.0, 2.0, 3.0, 1e9], [6.0, float("nan"), -1e9, 7.0]], dtype=torch.float64)
    found = whiten(values, MASK)
    assert found[~MASK].tolist() == [0.0] * 4
    assert found[MASK].mean().item() == pytest.approx(0, abs=1e-12)
    assert found[MASK].var(correction=1).item() == pytest.approx(1)
    assert whiten(torch.ones(1, 3), torch.ones(1, 3, dtype=torch.bool)).tolist() == [[0.0, 0.0, 0.0]]
    one = torch.tensor([[True, False]])
    assert whiten(torch.tensor([[5.0, 1.0]]), one).tolist() == [[0.0, 0.0]]


def two_processes(parts: list, work):
    """What each of several processes gets from `work(part, total)`: its k-th call of `total` sums over all of them."""
    calls: list[list[list[float]]] = []  # of each k-th call, what each process gave

    def recording(given: list[float], k: list[int]) -> list[float]:
        if k[0] == len(calls):
            calls.append([])
        calls[k[0]].append(given)
        k[0] += 1
        return given

    found = []
    rounds = 3  # the sums of one call decide what is given to the next, so it takes as many rounds as calls
    for _ in range(rounds):
        known, calls, found = calls, [], []
        for part in parts:
            k = [0]

            def total(given: list[float], k=k, known=known) -> list[float]:
                index = k[0]
                recording(given, k)
                return [sum(column) for column in zip(*known[index], strict=True)] if index < len(known) else given

            found.append(work(part, total))
    return found


def test_processes_whiten_by_the_statistics_of_the_whole():
    values, returns, mask = doubles(6, 4), doubles(6, 4, seed=1), torch.rand(6, 4) > 0.3
    parts = [(values[:2], returns[:2], mask[:2]), (values[2:], returns[2:], mask[2:])]
    found = two_processes(parts, lambda part, total: whiten(part[0], part[2], total=total))
    torch.testing.assert_close(torch.cat(found), whiten(values, mask))
    told = two_processes(parts, lambda part, total: explained_variance(*part, total=total))
    assert told == pytest.approx([explained_variance(values, returns, mask)] * 2)


def test_explained_variance_by_hand():
    returns = torch.tensor([[1.0, 3.0, 5.0, 99.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert explained_variance(returns, returns, mask) == pytest.approx(1)
    assert explained_variance(torch.full_like(returns, 7.0), returns, mask) == pytest.approx(0)
    assert explained_variance(torch.tensor([[1.0, 3.0, 3.0, 0.0]]), returns, mask) == pytest.approx(
        1 - (8 / 9) / (8 / 3)
    )
    assert explained_variance(-returns, returns, mask) < 0
    assert explained_variance(returns, torch.ones_like(returns), mask) == 0.0
    assert explained_variance(returns, returns, torch.zeros_like(mask)) == 0.0


# --- losses


def test_the_surrogate_by_hand():
    ratios = torch.tensor([[1.0, 1.5, 1.5, 0.5, 0.5, 1.1]]).log()
    advantages = torch.tensor([[2.0, 2.0, -2.0, 2.0, -2.0, 1.0]])
    found = clipped_surrogate(ratios, advantages, 0.2, 0.3)
    # the lower of r A and clip(r) A: 2, 1.3 * 2, 1.5 * -2, 0.5 * 2, 0.8 * -2, 1.1
    torch.testing.assert_close(found, -torch.tensor([[2.0, 2.6, -3.0, 1.0, -1.6, 1.1]]))
    low, high = clipped(ratios, advantages, 0.2, 0.3)
    assert low.tolist() == [[0, 0, 0, 0, 1, 0]]
    assert high.tolist() == [[0, 1, 0, 0, 0, 0]]
    far, negative = torch.tensor([[5.0]]).log().requires_grad_(), torch.tensor([[-2.0]])
    loss = clipped_surrogate(far, negative, 0.2, 0.2, dual_clip=3.0)
    loss.sum().backward()
    assert loss.item() == pytest.approx(6.0)
    assert far.grad == 0
    assert [share.item() for share in clipped(far, negative, 0.2, 0.2, 3.0)] == [0, 1]
    assert [share.item() for share in clipped(far, negative, 0.2, 0.2)] == [0, 0]


def test_its_gradient_at_ratio_one_is_that_of_reinforce_and_is_cut_where_it_says():
    logprobs, advantages = doubles(3, 4).requires_grad_(), doubles(3, 4, seed=1)
    clipped_surrogate(logprobs - logprobs.detach(), advantages, 0.2, 0.2).sum().backward()
    torch.testing.assert_close(logprobs.grad, -advantages)  # of -log p A

    ratios = torch.tensor([[1.5, 1.5, 0.5, 0.5]]).log().requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]], requires_grad=True)
    clipped_surrogate(ratios, advantages, 0.2, 0.2).sum().backward()
    assert ratios.grad is not None
    assert (ratios.grad == 0).tolist() == [[True, False, False, True]]
    low, high = clipped(ratios, advantages, 0.2, 0.2)
    assert (low + high).tolist() == [[1, 0, 0, 1]]
    assert advantages.grad is None


def test_gradients_by_finite_differences():
    ratios = (0.3 * doubles(2, 4)).requires_grad_()
    advantages = doubles(2, 4, seed=1)
    assert gradcheck(lambda r: clipped_surrogate(r, advantages, 0.1, 0.15, 3.0), (ratios,))
    values = doubles(2, 4, seed=2).requires_grad_()
    old, returns = doubles(2, 4, seed=3), doubles(2, 4, seed=4)
    assert gradcheck(lambda v: clipped_value_loss(v, old, returns, 0.2), (values,))
    for estimator in ("k1", "k2", "k3"):
        assert gradcheck(lambda r, e=estimator: kl_estimate(r, e), (ratios,))


def test_the_value_loss_by_hand():
    values, old, returns = (
        torch.tensor([[1.0, 3.0, 0.0]]),
        torch.tensor([[0.5, 0.0, 0.0]]),
        torch.tensor([[2.0, 2.0, 0.0]]),
    )
    # plain: 1, 1, 0; held to 0.7, 0.2, 0: 1.69, 3.24, 0
    torch.testing.assert_close(clipped_value_loss(values, old, returns, 0.2), torch.tensor([[0.845, 1.62, 0.0]]))
    torch.testing.assert_close(clipped_value_loss(values, old, returns, None), torch.tensor([[0.5, 0.5, 0.0]]))
    assert clipped_values(values, old, returns, 0.2).tolist() == [[True, True, False]]
    assert not clipped_values(values, old, returns, None).any()


def test_values_are_cut_where_their_loss_has_no_gradient():
    values = (2 * doubles(1, 200)).requires_grad_()
    old, returns = doubles(1, 200, seed=1), doubles(1, 200, seed=2)
    clipped_value_loss(values, old, returns, 0.5).sum().backward()
    cut = clipped_values(values.detach(), old, returns, 0.5)
    assert torch.equal(cut, values.grad == 0)
    assert 0 < cut.sum() < ((values - old).abs() > 0.5).sum()


def test_the_coefficient_by_hand():
    assert adapted(0.1, 6.0, 6.0, 8.0, 100.0) == pytest.approx(0.1)
    assert adapted(0.1, 6.6, 6.0, 8.0, 100.0) == pytest.approx(0.1 * (1 + 0.1 * 0.08))
    assert adapted(0.1, 600.0, 6.0, 8.0, 100.0) == pytest.approx(0.1 * (1 + 0.2 * 0.08))
    assert adapted(0.1, 0.0, 6.0, 1e9, 100.0) == pytest.approx(0.08)  # a batch larger than the horizon: a fifth at most
    assert adapted(0.1, -3.0, 6.0, 8.0, 100.0) == pytest.approx(0.1 * (1 - 0.2 * 0.08))


def test_what_is_told_of_ratios_by_hand():
    ratios = torch.tensor([[1.0, 1.5, 1.5, 0.5, 0.5]])
    advantages = torch.tensor([[1.0, 1.0, -1.0, 1.0, -1.0]])
    told = of_ratios(ratios.log(), advantages, 0.2, 0.2)
    assert told["clip_high"].tolist() == [[0, 1, 0, 0, 0]]
    assert told["clip_low"].tolist() == [[0, 0, 0, 0, 1]]
    torch.testing.assert_close(told["ratio"], ratios)
    torch.testing.assert_close(told["ratio_square"], ratios**2)
