"""The engine on the real Gemma 3 270M: the same numbers as transformers' own forward, and a policy that learns."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from gemma_align.config import ModelConfig, TrainingConfig
from gemma_align.data.collate import Encoder
from gemma_align.data.tasks import TASKS
from gemma_align.models.policy import Policy
from gemma_align.trainers.sft import SFT
from gemma_align.types import Responses, Sampling, Totals

pytestmark = [pytest.mark.slow, pytest.mark.ci]


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    loaded = Policy.load(ModelConfig(checkpoint="bundled:gemma-3-270m", device="cpu"))
    with torch.no_grad():
        for name, weight in loaded.trainable().items():
            if "lora_B" in name:
                weight.normal_(std=0.02)
    return loaded


def separately(model, responses):
    """One forward of transformers' own model a response, without an adapter of ours in the way."""
    rows = torch.zeros(responses.ids.shape)
    for n in range(len(responses)):
        prompt, answer = responses.prompt_ids[responses.prompt_of[n]], responses.ids[n][responses.mask[n]]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*prompt, *answer.tolist()]]), use_cache=False).logits[0]
        logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
        rows[n, : len(answer)] = logprobs.gather(1, answer[:, None])[:, 0]
    return rows


def test_packed_log_probabilities_equal_separate_forwards(policy):
    """A short prompt with three responses, and one that is longer than the sliding window of 512."""
    examples = [TASKS["clinical"].builtin(0, "report", i) for i in range(12)]
    long = replace(examples[0], prompt="\n".join(example.prompt for example in examples))
    prompts = tuple(policy.prompt_format.prompt_ids(example)[:700] for example in (examples[0], long))
    assert len(prompts[1]) == 700
    answers = [policy.prompt_format.response_ids(e.response)[:24] for e in examples[:4]]
    width = max(map(len, answers))
    mask = torch.tensor([[t < len(a) for t in range(width)] for a in answers])
    ids = torch.tensor([[*a, *[0] * (width - len(a))] for a in answers])
    responses = Responses(prompts, torch.tensor([0, 0, 0, 1]), ids, mask)
    with policy.base():
        ours = policy.logprobs(responses).detach()
    plain = AutoModelForCausalLM.from_pretrained(policy.info.path, attn_implementation="sdpa")
    torch.testing.assert_close(ours, separately(plain, responses), rtol=1e-4, atol=5e-4)


def test_sampled_log_probabilities_equal_recomputed_ones(policy):
    """With the adapter merged by the sampler and not merged by the scorer."""
    examples = [TASKS["clinical"].builtin(0, "report", i) for i in range(2)]
    rollouts = policy.generate(examples, 2, Sampling(max_tokens=8, temperature=1.0, seed=1))
    with torch.no_grad():
        recomputed = policy.logprobs(rollouts.responses)
    torch.testing.assert_close(rollouts.logprobs, recomputed, rtol=1e-3, atol=2e-3)


def test_a_few_updates_lower_the_loss_of_one_batch(policy):
    examples = [TASKS["clinical"].builtin(0, "train", i) for i in range(2)]
    sft = SFT(policy, Encoder(policy.prompt_format, 1024))
    batch = sft.prepare(examples)
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=TrainingConfig().learning_rate)
    losses = []
    for _ in range(4):
        loss, metrics = sft.loss(batch, Totals(float(batch.responses.mask.sum()), len(batch)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(metrics["loss/sft"])
    assert losses[-1] < losses[0] - 0.1
