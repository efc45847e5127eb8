"""Evaluation of the tiny model: the policy against a slow and obvious one made of nothing but transformers."""

from contextlib import nullcontext
from itertools import takewhile

import pytest
import torch

from gemma_align.config import ModelConfig
from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.data.collate import Encoder
from gemma_align.data.task import LoadedTask
from gemma_align.data.tasks.clinical import CLINICAL
from gemma_align.data.templates import choose_format
from gemma_align.evaluation.evaluate import evaluate
from gemma_align.models.policy import Policy
from gemma_align.models.tiny import tiny_model, tiny_tokenizer
from gemma_align.types import Responses, Rollouts

MAX_NEW_TOKENS = 8


class ObviousPolicy:
    """One example at a time, the whole sequence again for every token."""

    def __init__(self):
        tokenizer = tiny_tokenizer()
        self.model = tiny_model(len(tokenizer))
        self.prompt_format = choose_format("auto", tokenizer)

    def sampling(self):
        return nullcontext()

    def encode(self, examples):
        return Encoder(self.prompt_format, 2048)(examples)

    def logprobs(self, responses, temperature=1.0):
        out = torch.zeros(responses.ids.shape)
        for n, p in enumerate(responses.prompt_of.tolist()):
            prompt, length = list(responses.prompt_ids[p]), int(responses.mask[n].sum())
            ids = torch.tensor([prompt + responses.ids[n, :length].tolist()])
            logits = self.model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            out[n, :length] = logits.gather(1, ids[0, len(prompt) :, None])[:, 0]
        return out

    def generate(self, examples, num_samples, sampling):
        rows = []
        for example in examples:
            ids = list(self.prompt_format.prompt_ids(example))
            start = len(ids)
            while len(ids) - start < sampling.max_tokens and (len(ids) == start or ids[-1] not in self._stops):
                ids.append(int(self.model(torch.tensor([ids])).logits[0, -1].argmax()))
            rows.append(ids[start:])
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[i < len(row) for i in range(width)] for row in rows])
        prompts = tuple(self.prompt_format.prompt_ids(e) for e in examples)
        texts = tuple(self.prompt_format.decode(list(takewhile(lambda t: t not in self._stops, row))) for row in rows)
        finished = torch.tensor([row[-1] in self._stops for row in rows])
        responses = Responses(prompts, torch.arange(len(rows)), ids, mask)
        return Rollouts(responses, torch.zeros(ids.shape), tuple(examples), texts, finished)

    @property
    def _stops(self):
        return self.prompt_format.stop_ids


@pytest.fixture(scope="module")
def visits():
    return [clinical_example(3, "report", i) for i in range(3)]


def evaluated(policy, visits, num_rows):
    task = LoadedTask(CLINICAL, {"report": tuple(visits)}, None)
    return evaluate(
        policy, task, visits, split="report", model="base", max_new_tokens=MAX_NEW_TOKENS, num_rows=num_rows
    )


@pytest.mark.parametrize("num_rows", [1, 4])
def test_the_policy_evaluates_as_plain_transformers_does(visits, num_rows):
    obvious = evaluated(ObviousPolicy(), visits, 4)
    policy = Policy.load(ModelConfig(checkpoint="tiny", device="cpu"), num_rows=num_rows)
    found = evaluated(policy, visits, num_rows)
    for ours, theirs in zip(found.records, obvious.records, strict=True):
        assert (ours.response, ours.num_tokens, ours.finished) == (theirs.response, theirs.num_tokens, theirs.finished)
        assert ours.measures == theirs.measures
        assert ours.response_tokens == theirs.response_tokens > 10
        assert ours.response_loss == pytest.approx(theirs.response_loss, abs=1e-5)
    assert found.measures["response_loss"].mean == pytest.approx(obvious.measures["response_loss"].mean, abs=1e-5)
    assert 3 < found.measures["response_loss"].mean < 12  # a random model over some hundred words
    assert {"rougeL", "fact_coverage", "invented_facts", "finished", "num_tokens"} <= set(found.measures)


def test_evaluation_leaves_no_gradient_and_no_changed_weight_behind(visits):
    policy = Policy.load(ModelConfig(checkpoint="tiny", device="cpu"))
    before = {name: weight.clone() for name, weight in policy.model.named_parameters()}
    evaluated(policy, visits[:1], 4)
    for name, weight in policy.model.named_parameters():
        assert torch.equal(weight, before[name])
        assert weight.grad is None
