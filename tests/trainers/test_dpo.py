"""DPO on a tiny model: agreement with an obvious definition, the right reference, exactness, and that it learns."""

import math
import random

import pytest
import torch
from tests.trainers.common import SCHEDULED, make_loop, require_exact_resume, tiny_policy, weights

from gemma_align.config.methods import DPOConfig
from gemma_align.core.packing import microbatch_rows
from gemma_align.core.preference import dpo_loss
from gemma_align.data.collate import Encoder, PairEncoder
from gemma_align.errors import DataError
from gemma_align.models.reference import Reference
from gemma_align.trainers.dpo import DPO
from gemma_align.trainers.sft import SFT
from gemma_align.types import Example, Totals

PAIRS = [
    Example(
        id=str(i),
        prompt="say it " * (1 + i % 5),
        response=f"it is {i} " * (1 + i % 3),
        rejected=f"no {i}",
        cue="Answer:",
    )
    for i in range(12)
]


def make_dpo(policy, reference=None, max_length=512, **settings) -> DPO:
    encode = PairEncoder(Encoder(policy.prompt_format, max_length))
    return DPO(policy, reference or Reference(policy.trainable()), encode, DPOConfig(**settings))


def pairs_loop(policy, algorithm, examples=PAIRS, **settings):
    return make_loop(policy, algorithm, examples, **SCHEDULED | {"batch_size": 4} | settings)


def alone(policy, example, text):
    """log p of a whole response by transformers' own forward pass, one sequence at a time."""
    prompt, ids = policy.prompt_format.prompt_ids(example), policy.prompt_format.response_ids(text)
    logits = policy.causal_lm(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) - 1 + i, token] for i, token in enumerate(ids))


# --- agreement


@pytest.mark.parametrize(("smoothing", "beta"), [(0.0, 0.1), (0.2, 0.5)])
def test_loss_and_gradient_are_those_of_separate_forwards(smoothing, beta):
    reference, policy = tiny_policy(moved=0.1), tiny_policy(moved=0.1)
    dpo = make_dpo(policy, beta=beta, label_smoothing=smoothing)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.mul_(1.3)
    totals = Totals(num_tokens=1.0, num_sequences=2.0 * len(PAIRS))
    with torch.no_grad():
        batch = dpo.prepare(PAIRS)
    loss, metrics = dpo.loss(batch, totals)
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in policy.trainable().items()}
    policy.model.zero_grad()

    slow = torch.zeros(())
    margins = []
    for pair in PAIRS:
        with torch.no_grad():
            ref = [alone(reference, pair, text) for text in (pair.response, pair.rejected)]
        own = [alone(policy, pair, text) for text in (pair.response, pair.rejected)]
        chosen, rejected = (mine - theirs for mine, theirs in zip(own, ref, strict=True))
        h = beta * (chosen - rejected)
        slow = slow - (1 - smoothing) * torch.log(torch.sigmoid(h)) - smoothing * torch.log(1 - torch.sigmoid(h))
        margins.append(h.item())
    slow = slow / len(PAIRS)
    slow.backward()
    assert loss.item() == pytest.approx(slow.item(), abs=1e-5)
    for name, weight in policy.trainable().items():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-6, msg=name)
    assert metrics["reward/margin"] == pytest.approx(sum(margins) / len(PAIRS), abs=1e-5)
    assert metrics["reward/accuracy"] == sum(m > 0 for m in margins) / len(PAIRS)
    assert set(metrics) == set(dpo.metrics)


def test_options_by_their_definitions():
    policy = tiny_policy(moved=0.1)
    start = Reference(policy.trainable())
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.mul_(1.3)
    totals = Totals(num_tokens=1.0, num_sequences=2.0 * len(PAIRS))

    def value(**settings):
        dpo = make_dpo(policy, start, **settings)
        with torch.no_grad():
            batch = dpo.prepare(PAIRS)
            return dpo.loss(batch, totals)[0].item(), batch, dpo

    plain, batch, _ = value()
    with torch.no_grad():
        logprobs = policy.logprobs(batch.responses)
    lengths = batch.responses.mask.sum(1)
    ratios = logprobs.sum(1) - batch.ref_logprobs
    chosen, rejected = ratios[0::2], ratios[1::2]
    assert plain == pytest.approx(dpo_loss(chosen, rejected, 0.1).mean().item(), abs=1e-6)
    ipo = value(loss="ipo")[0]
    assert ipo == pytest.approx(((chosen - rejected - 5) ** 2).mean().item(), rel=1e-5)
    normalised = ratios / lengths
    expected = dpo_loss(normalised[0::2], normalised[1::2], 0.1).mean().item()
    assert value(length_normalised=True)[0] == pytest.approx(expected, abs=1e-6)
    sft = -(logprobs.sum(1) / lengths)[0::2].mean().item()
    assert value(sft_weight=0.5)[0] == pytest.approx(plain + 0.5 * sft, rel=1e-5)


# --- the reference


def test_the_reference_is_the_policy_as_the_stage_found_it_and_not_the_base():
    """After SFT the loss starts at log 2 and every reward at 0; with the base as reference neither would."""
    policy = tiny_policy()
    list(pairs_loop(policy, SFT(policy, Encoder(policy.prompt_format, 512)), learning_rate=1e-2))
    dpo = make_dpo(policy)
    with torch.no_grad():
        batch = dpo.prepare(PAIRS)
        loss, metrics = dpo.loss(batch, Totals(1.0, 2.0 * len(PAIRS)))
        sft = policy.logprobs(batch.responses).sum(dim=1)
        with policy.base():
            base = policy.logprobs(batch.responses).sum(dim=1)
    assert loss.item() == pytest.approx(0.693147, abs=1e-5)
    assert metrics["reward/chosen"] == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(batch.ref_logprobs, sft, rtol=1e-5, atol=1e-4)
    assert (sft - base).abs().median() > 1


def test_the_reference_stays_while_the_policy_moves_and_leaves_no_trace():
    policy = tiny_policy(moved=0.1)
    dpo = make_dpo(policy)
    with torch.no_grad():
        before = dpo.prepare(PAIRS[:4]).ref_logprobs
    list(pairs_loop(policy, dpo, learning_rate=1e-2))
    own = weights(policy)
    with torch.no_grad():
        after = dpo.reference_logprobs(dpo.encode(PAIRS[:4]))
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-5)
    assert all(torch.equal(weight, own[name]) for name, weight in policy.trainable().items())

    with pytest.raises(RuntimeError, match="in the middle"), dpo.reference.in_place():
        raise RuntimeError("in the middle")
    assert all(torch.equal(weight, own[name]) for name, weight in policy.trainable().items())


def test_only_the_adapter_gets_a_gradient_and_the_reference_none():
    policy = tiny_policy(moved=0.1)
    dpo = make_dpo(policy)
    loss, _ = dpo.loss(dpo.prepare(PAIRS[:2]), Totals(1.0, 4.0))
    loss.backward()
    with_gradient = {name for name, p in policy.model.named_parameters() if p.grad is not None}
    assert with_gradient == set(policy.trainable())
    assert all(float(p.grad.abs().sum()) > 0 for p in policy.trainable().values())
    assert not any(kept.requires_grad for kept in dpo.reference.state_dict().values())


# --- exactness


@pytest.mark.parametrize("max_tokens", [1, 90])
def test_microbatches_change_no_weight_and_part_no_pair(max_tokens):
    results = []
    for budget in (100_000, max_tokens):
        policy = tiny_policy(moved=0.05)
        dpo = make_dpo(policy)
        metrics = [u.metrics for u in pairs_loop(policy, dpo, max_tokens_per_microbatch=budget)]
        results.append((weights(policy), metrics))
    (whole, whole_metrics), (split, split_metrics) = results
    for name in whole:
        torch.testing.assert_close(split[name], whole[name], rtol=1e-3, atol=5e-5, msg=name)
    for a, b in zip(whole_metrics, split_metrics, strict=True):
        assert a["loss/dpo"] == pytest.approx(b["loss/dpo"], rel=1e-4)
    responses = dpo.encode(PAIRS)
    parts = microbatch_rows(responses, max_tokens, whole_prompts=True)
    assert len(parts) > 3
    assert sorted(row for part in parts for row in part.tolist()) == list(range(24))
    assert all(part[0::2].tolist() == (part[1::2] - 1).tolist() and (part[0::2] % 2 == 0).all() for part in parts)


def test_a_stage_that_goes_on_from_its_state_ends_in_the_same_bits():
    def loop(seed=0, moved=0.05):
        policy = tiny_policy(seed=seed, moved=moved)
        return pairs_loop(policy, make_dpo(policy), num_epochs=2)

    require_exact_resume(loop, lambda: loop(seed=99, moved=0.3))


def test_both_responses_stand_after_one_prompt_however_long_they_are():
    policy = tiny_policy()
    long = Example("long", "question " * 60, response="answer " * 10, rejected="no " * 50, cue="Answer:")
    encode = PairEncoder(Encoder(policy.prompt_format, 64))
    responses = encode([PAIRS[0], long])
    assert responses.prompt_of.tolist() == [0, 0, 1, 1]
    sizes = responses.mask.sum(1) + torch.tensor([len(responses.prompt_ids[p]) for p in responses.prompt_of])
    assert sizes.max() <= 64
    kept, lengths = encode.within_limit([PAIRS[0], long])
    assert (len(kept), lengths.num_truncated, lengths.num_dropped) == (2, 1, 0)
    dropping = PairEncoder(Encoder(policy.prompt_format, 64, "drop"))
    kept, lengths = dropping.within_limit([PAIRS[0], long])
    assert ([e.id for e in kept], lengths.num_dropped) == (["0"], 1)
    with pytest.raises(DataError, match="'x' is no pair"):
        encode([Example("x", "p", response="r")])


# --- learning


@pytest.mark.parametrize("seed", range(5))
def test_it_learns_what_is_preferred(seed):
    """Pairs that differ in one word: right in all of unseen pairs, from chance, in seconds."""
    draw = random.Random(seed)
    words = ["rain", "sun", "tea", "road", "lamp", "bird", "stone", "river"]

    def pair(i):
        before, after = " ".join(draw.choices(words, k=3)), " ".join(draw.choices(words, k=3))
        return Example(f"p{i}", f"{before}?", f"{before} gladly {after}", f"{before} never {after}", cue="Answer:")

    pairs = [pair(i) for i in range(64)]
    policy = tiny_policy(seed=seed)
    dpo = make_dpo(policy, beta=0.5)
    unseen = pairs[48:]
    with torch.no_grad():
        start, _ = dpo.tune(unseen)
    assert start["loss"] / len(unseen) == pytest.approx(math.log(2), abs=1e-5)  # policy and reference are one
    list(pairs_loop(policy, dpo, pairs[:48], learning_rate=1e-2, batch_size=8, num_epochs=3))
    with torch.no_grad():
        sums, count = dpo.tune(unseen)
    assert count == len(unseen)
    assert sums["accuracy"] / count >= 0.9
    assert sums["loss"] / count < 0.5
    assert dpo.tune([]) == ({"loss": 0.0, "accuracy": 0.0, "margin": 0.0}, 0.0)
