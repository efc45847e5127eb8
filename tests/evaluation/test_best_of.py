"""Best-of-n as an evaluated model, against drawing and choosing one by one."""

import pytest
import torch

from gemma_align.config import ModelConfig
from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.data.splits import hashed
from gemma_align.data.task import LoadedTask
from gemma_align.data.tasks.clinical import CLINICAL
from gemma_align.evaluation import best_of
from gemma_align.evaluation.best_of import BestOf
from gemma_align.evaluation.evaluate import evaluate
from gemma_align.evaluation.names import best_of_name, is_best_of
from gemma_align.models.policy import Policy
from gemma_align.types import Sampling, Scores

N, TOKENS, SEED = 3, 6, 5
VISITS = [clinical_example(3, "report", i) for i in range(5)]


def worth(example, answer):
    """Anything that tells samples apart."""
    return hashed(0, example.id, answer.text) / 2**64 + answer.num_tokens


class Reward:
    """Notes who was scored, in calls of which size."""

    def __init__(self, of=worth):
        self.of = of
        self.sizes = []

    def score(self, examples, answers):
        self.sizes.append(len(answers))
        return Scores(torch.tensor([self.of(e, a) for e, a in zip(examples, answers, strict=True)]), {})


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return Policy.load(ModelConfig(checkpoint="tiny", lora=None, device="cpu"))


def best(policy, reward, num_rows=16):
    return evaluate(
        policy,
        LoadedTask(CLINICAL, {"report": tuple(VISITS)}, None),
        VISITS,
        split="report",
        model=best_of_name(N),
        max_new_tokens=TOKENS,
        num_rows=num_rows,
        draw=BestOf(reward, N, 1.0, reward_name="abc"),
        seed=SEED,
    )


def test_the_response_kept_is_the_best_of_samples_drawn_one_by_one(policy, monkeypatch):
    monkeypatch.setattr(best_of, "BATCH", 4)  # some prompts' samples are scored in two calls
    reward = Reward()
    found = best(policy, reward)
    assert [record.id for record in found.records] == [example.id for example in VISITS]
    sampling, tokens = Sampling(TOKENS, temperature=1.0, seed=hashed(SEED, "best of n")), 0
    for example, record in zip(VISITS, found.records, strict=True):
        drawn = []
        for i in range(N):
            one = policy.generate([example], 1, sampling, [hashed(0, example.id, i) % 2**62])
            length = int(one.responses.mask.sum())
            tokens += length
            drawn.append((hashed(0, example.id, one.texts[0]) / 2**64 + length, one.texts[0], length))
        assert len({text for _, text, _ in drawn}) > 1
        assert (record.response, record.num_tokens) == max(drawn)[1:]
    assert reward.sizes == [4, 4, 4, 3]
    assert found.spent == {"samples": N * len(VISITS), "tokens": tokens, "reward_calls": N * len(VISITS)}
    assert found.decoding["best_of"] == N
    assert found.decoding["temperature"] == 1.0
    assert found.decoding["reward"] == "abc"


def test_measures_are_those_of_the_chosen_and_nothing_is_said_of_the_references(policy):
    found = best(policy, Reward())
    measured = CLINICAL.measure(VISITS, [record.response for record in found.records])
    for name in ("rougeL", "num_words"):
        assert found.measures[name].mean == pytest.approx(sum(m[name] for m in measured) / len(measured))
    assert "response_loss" not in found.measures


def test_how_many_rows_are_decoded_decides_nothing(policy):
    assert best(policy, Reward(), num_rows=1).records == best(policy, Reward(), num_rows=4).records


def test_of_equal_ones_the_first_is_kept(policy):
    first = best(policy, Reward(lambda example, answer: 0.0))
    example, sampling = VISITS[0], Sampling(TOKENS, temperature=1.0, seed=hashed(SEED, "best of n"))
    one = policy.generate([example], 1, sampling, [hashed(0, example.id, 0) % 2**62])
    assert first.records[0].response == one.texts[0]


def test_names():
    assert best_of_name(8) == "best_of_8"
    assert is_best_of("best_of_8")
    assert not any(map(is_best_of, ("base", "few_shot", "best_of_", "best_of_8x", "tuned")))
