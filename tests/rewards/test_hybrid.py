import math

import pytest
import torch

from gemma_align.config import RewardConfig
from gemma_align.errors import ConfigError, RewardError
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.rewards.terms import load_term
from gemma_align.types import Answer, Example, Scores

EXAMPLE = Example("e1", "How do I bake bread?", "Mix flour, water, salt and yeast, let the dough rise, then bake it.")
HONEST = "Mix flour with water, add salt and yeast, wait until the dough has risen, and bake it for forty minutes."
LOOP = "bake it " * 80


class Encoder:
    """Two heads: words of the answer, and 1 more."""

    def __init__(self, per_word=0.1):
        self.per_word = per_word

    def heads(self, examples, answers):
        words = torch.tensor([self.per_word * len(answer.text.split()) for answer in answers])
        return torch.stack([words, words + 1], dim=1)


def reward(encoder=None, **settings):
    return HybridReward("safety", RewardConfig(**settings), encoder or Encoder())


def score(model, *texts, example=EXAMPLE):
    return model.score([example] * len(texts), [Answer(text) for text in texts])


def test_the_total_is_alpha_encoder_plus_beta_constraints():
    settings = {"alpha": 2.0, "beta": 3.0, "constraints": {"repetition": {"floor": None}, "length": {"floor": None}}}
    got = score(reward(**settings), HONEST, LOOP)
    held = sum(got.parts[name] for name in ("toxicity", "repetition", "length"))
    assert got.total.tolist() == pytest.approx((2 * got.parts["encoder"] + 3 * held).tolist())
    assert got.parts["encoder"].tolist() == pytest.approx([0.1 * 20 + 0.5, 0.1 * 160 + 0.5])
    assert got.parts["encoder_spread"].tolist() == pytest.approx([0.5, 0.5])
    assert held[0] == 0
    assert held[1] < 0
    assert got.parts["violation"].tolist() == [0, 1]
    assert got.parts["capped"].tolist() == [0, 0]


def test_a_floor_caps_whatever_the_encoder_says():
    for per_word in (0.1, 1e4):
        got = score(reward(Encoder(per_word)), HONEST, LOOP)
        assert got.total[1] <= -3
        assert got.parts["capped"].tolist() == [0, 1]
    assert score(reward(Encoder(1e4), beta=0.0), LOOP).total[0] > 1e5  # the encoder alone


def test_without_alpha_no_encoder_is_asked():
    model = HybridReward("safety", RewardConfig(alpha=0.0), None)
    got = score(model, HONEST, LOOP)
    assert "encoder" not in got.parts
    assert got.total[0] == 0 > got.total[1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"combine": "pessimistic", "pessimism": "worst"}, 2.0),
        ({"combine": "pessimistic", "pessimism": "mean"}, 2.5),
        ({"combine": "pessimistic", "pessimism": "variance", "pessimism_coef": 2.0}, 2.5 - 2 * 0.25),
        ({"combine": "shaped"}, 1 / (1 + math.exp(-(2.0 - 1.3)))),  # 20 words against the reference's 13
        ({"combine": "lagrangian"}, 2.5),
    ],
)
def test_what_stands_in_the_encoder_s_place(settings, expected):
    assert len(HONEST.split()) == 20
    assert len(EXAMPLE.response.split()) == 13
    assert score(reward(**settings), HONEST).total[0] == pytest.approx(expected, abs=1e-6)


def test_shaped_wants_a_reference_and_names_the_example():
    with pytest.raises(RewardError, match=r"'e2' has no reference"):
        score(reward(combine="shaped"), HONEST, example=Example("e2", "p"))


def test_beta_follows_violations_where_it_is_a_multiplier():
    fast = {"target": 0.0, "step": 1.0, "delay": 0}
    model, fixed = reward(combine="lagrangian", lagrangian=fast), reward(lagrangian=fast)
    for one in (model, fixed):
        one.observe(score(one, HONEST, LOOP))
    assert model.beta == pytest.approx(math.exp(0.5))
    assert fixed.beta == 1.0
    free = {"repetition": {"floor": None}}
    held = reward(combine="lagrangian", lagrangian=fast, constraints=free)
    held.load_state_dict(model.state_dict())
    beside = held.score([EXAMPLE], [Answer(LOOP)], 1.0).total
    assert torch.equal(beside, reward(constraints=free).score([EXAMPLE], [Answer(LOOP)]).total)
    assert beside > held.score([EXAMPLE], [Answer(LOOP)]).total
    other = reward(combine="lagrangian", lagrangian=fast)
    other.load_state_dict(model.state_dict())
    assert other.beta == model.beta


def letters(example: Example, answer: Answer) -> float:
    return float(len(answer.text))


def test_own_terms_and_programmatic_rewards_are_added_and_kept():
    class Half:
        def score(self, examples, answers):
            return Scores(torch.full((len(answers),), 0.5), {})

    settings = RewardConfig(alpha=0.0, beta=0.0, programmatic=4.0)
    got = score(HybridReward("safety", settings, None, Half(), {"m:letters": (letters, -0.1)}), "abcde")
    assert got.total[0] == pytest.approx(4 * 0.5 - 0.1 * 5)
    assert got.parts["term/m:letters"].tolist() == [5]
    assert got.parts["programmatic"].tolist() == [0.5]


def test_a_failing_term_names_the_example_and_scores_nothing():
    def broken(example, answer):
        raise KeyError("oops")

    cases = ((broken, "KeyError"), (lambda *_: math.nan, "nan"), (lambda *_: "3", "'3'"), (lambda *_: None, "None"))
    for term, said in cases:
        model = HybridReward("safety", RewardConfig(alpha=0.0), None, None, {"m:t": (term, 1.0)})
        with pytest.raises(RewardError, match=rf"m:t.*{said}.*|m:t.*'e1'") as caught:
            score(model, HONEST)
        assert "'e1'" in str(caught.value)
        assert said in str(caught.value)


def test_a_score_that_is_not_finite_names_the_example():
    with pytest.raises(RewardError, match=r"'encoder'.*'e1'"):
        score(reward(Encoder(math.inf)), HONEST)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("no_such_module:f", "can't be imported"),
        ("math:no_such", "has no function 'no_such'.*sqrt"),
        ("math", "package.module:function"),
        ("math:pi", "has no function 'pi'"),
    ],
)
def test_a_term_that_is_not_there(call, said):
    with pytest.raises(ConfigError, match=said):
        load_term(call)
    assert load_term("math:sqrt")(4) == 2
