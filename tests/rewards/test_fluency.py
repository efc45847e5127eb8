"""Fluency: measures by hand, log-probabilities that are the policy's own, and its place in the hybrid."""

import math

import pytest
import torch
from tests.rewards.encoders import tiny_policy

from gemma_align.config import RewardConfig
from gemma_align.config.constraints import ConstraintsConfig, FluencyConfig
from gemma_align.errors import RewardError
from gemma_align.rewards.attacks.suite import CONSTRAINTS, variants
from gemma_align.rewards.build import open_reward
from gemma_align.rewards.fluency import Reference, fluency, surprise, worst_window
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.types import Answer, Example, Turn

LIMITS = FluencyConfig(weight=0.1, surprising=8.0, window=3, garbled=6.0, floor=-3.0)
EXAMPLES = [
    Example("a", "Is it raining?", cue="Assistant:"),
    Example("b", "Is it raining?", cue="Assistant:"),
    Example("c", "Where is the road?", history=(Turn("user", "Hello."), Turn("assistant", "Hi.")), cue="Assistant:"),
]
ANSWERS = [Answer("Yes, it is, since this morning."), Answer("No."), Answer("There, behind the stone.")]


def test_measures_by_hand():
    assert surprise([-1.0, -9.5, -8.0, -12.0], 8.0) == pytest.approx(1.5 + 4.0)
    assert surprise([], 8.0) == 0
    assert worst_window([-1.0, -2.0, -6.0, -1.0], 2) == pytest.approx(4.0)
    assert worst_window([-1.0, -2.0], 5) == pytest.approx(1.5)
    assert worst_window([], 5) == 0


def test_surprise_costs_by_the_nat_and_garbled_text_is_capped():
    plain = fluency([-1.0, -2.0, -3.0], LIMITS)
    assert (plain.penalty, plain.fired, plain.floor) == (0, False, None)
    one_word = fluency([-1.0, -10.0, -3.0, -1.0], LIMITS)
    assert (one_word.penalty, one_word.fired, one_word.floor, one_word.measure) == (-0.2, False, None, "surprise")
    salad = fluency([-1.0, -10.0, -9.0, -2.0], LIMITS)
    assert salad.penalty == pytest.approx(-0.3)
    assert (salad.fired, salad.measure, salad.floor) == (True, "garbled", pytest.approx(-3.3))
    assert salad.reason == "3 tokens in a row cost 7.0 nats each, under 6 expected"
    assert fluency([-10.0] * 3, LIMITS.model_copy(update={"floor": None})).floor is None


def test_log_probabilities_are_those_of_each_answer_read_alone():
    policy = tiny_policy()
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.normal_(std=0.3)  # an adapter that does something, and must not be seen
    found = Reference(policy).logprobs(EXAMPLES, ANSWERS)
    with policy.base(), torch.no_grad():
        for example, answer, row in zip(EXAMPLES, ANSWERS, found, strict=True):
            prompt = policy.prompt_format.prompt_ids(example)
            ids = policy.prompt_format.response_ids(answer.text)[:-1]
            logits = policy.causal_lm(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
            alone = [float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(ids)]
            assert row == pytest.approx(alone, abs=1e-4)
    assert Reference(policy).logprobs(EXAMPLES[:1], [Answer("")]) == [()]
    assert Reference(policy).logprobs([], []) == []


def test_what_an_answer_brings_is_not_computed_again():
    policy = tiny_policy()
    policy.logprobs = lambda *_: pytest.fail("computed")  # type: ignore[method-assign]
    brought = Answer("Yes.", reference_logprobs=(-1.0, -2.0))
    assert Reference(policy).logprobs(EXAMPLES[:1], [brought]) == [(-1.0, -2.0)]
    with pytest.raises(RewardError, match="'a' aren't finite"):
        Reference(policy).logprobs(EXAMPLES[:1], [Answer("Yes.", reference_logprobs=(math.nan,))])


def settings(weight: float, **kwargs) -> RewardConfig:
    return RewardConfig(
        alpha=0.0, constraints=ConstraintsConfig(fluency=LIMITS.model_copy(update={"weight": weight})), **kwargs
    )


def test_in_the_hybrid_it_is_one_more_constraint():
    answers = [
        Answer("Yes, it is, since this morning.", reference_logprobs=(-1.0, -9.0, -1.0, -1.0)),
        Answer("Yes road it lamp is bread.", reference_logprobs=(-1.0, -11.0, -9.0, -9.0)),
    ]
    with open_reward("safety", settings(0.1, beta=2.0), tiny_policy) as reward:
        judged = reward.judge(EXAMPLES[:2], answers)
        assert judged.scores.parts["fluency"].tolist() == pytest.approx([-0.1, -0.5])
        assert judged.scores.parts["violation"].tolist() == [0, 1]
        assert judged.scores.total.tolist() == pytest.approx([-0.2, -3.5])  # the second by its floor
        assert "fluency" in judged.findings[1]
        found = variants(reward)
        assert list(found) == [CONSTRAINTS]
        assert found[CONSTRAINTS].score(EXAMPLES[:2], answers).parts["fluency"][1] == pytest.approx(-0.5)


def test_without_a_weight_no_policy_is_asked():
    for off in (settings(0.0), settings(0.1, beta=0.0)):
        with open_reward("safety", off, lambda: pytest.fail("a model was loaded")) as reward:
            assert "fluency" not in reward.score(EXAMPLES, ANSWERS).parts
    with pytest.raises(AssertionError, match="reference"):
        HybridReward("safety", settings(0.1), None)
