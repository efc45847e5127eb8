"""Whole steps of TRL's PPOTrainer on the given prompts: rollouts, scores, updates; nothing stops early.

TRL 1.12 is the last release that has it. What differs from ours, whose critic is low-rank matrices beside the frozen
base that the policy has too: here the value model is a module of its own, so it gets a second copy of the base, with
matrices of the same rank on the same layers, which is the least it can train. It takes one response a prompt, so each
prompt stands in its data once for every sample. Its reward model is a module that reads ids and gives the same scores
as ours.
"""

import time
import warnings
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from peft import inject_adapter_in_model
from transformers import AutoModelForSequenceClassification
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks.programs.child import serve, versions
from benchmarks.programs.distinct import distinct_words
from benchmarks.programs.trl_start import (
    ATTENTION,
    SETTINGS,
    adapter_config,
    arguments,
    load_model,
    load_tokenizer,
    put_adapter,
)


class Reader(torch.nn.Module):
    """In the place of a reward model's backbone: its last states are the ids."""

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> SimpleNamespace:
        return SimpleNamespace(hidden_states=(input_ids,))


class Judge(torch.nn.Module):
    """A reward model as the trainer takes it: `base_model_prefix` names the backbone, `score` reads its states."""

    base_model_prefix = "reader"

    def __init__(self, tokenizer: Any, num_tokens: int) -> None:
        super().__init__()
        self.reader = Reader()
        self.tokenizer = tokenizer
        self.num_tokens = num_tokens
        self.given: list[float] = []  # the scores so far

    def score(self, ids: torch.Tensor) -> torch.Tensor:
        """One score a row, at each of its places."""
        texts = self.tokenizer.batch_decode(ids[:, -self.num_tokens :], skip_special_tokens=True)
        found = [distinct_words(text) for text in texts]
        self.given += found
        return torch.tensor(found)[:, None, None].expand(-1, ids.shape[1], 1)


class Listener:
    """In the place of the trainer's own function that samples a batch; keeps what the first one was."""

    def __init__(self, tell: bool) -> None:
        self.tell = tell
        self.sample = ppo_trainer.batch_generation
        self.first: torch.Tensor | None = None  # prompts and responses
        self.logprobs: list[float] = []  # mean of each response

    def __call__(self, model: Any, queries: torch.Tensor, *args: Any) -> tuple[torch.Tensor, torch.Tensor]:
        rows, logits = self.sample(model, queries, *args)
        if self.first is None:
            self.first = rows
            if self.tell:
                drawn = rows[:, queries.shape[1] :, None]
                self.logprobs = logits.log_softmax(-1).gather(-1, drawn).mean(dim=(1, 2)).tolist()
        return rows, logits


def value_model(job: dict[str, Any]) -> Any:
    """A head on a base of its own; low-rank matrices and the head are trained, the base isn't."""
    model = AutoModelForSequenceClassification.from_pretrained(
        job["model"], num_labels=1, dtype=torch.float32, attn_implementation=ATTENTION
    )
    config = adapter_config(job)
    config.task_type = None
    model.requires_grad_(False)
    inject_adapter_in_model(config, model)
    model.score.requires_grad_(True)
    return model


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, prompts, num_samples, num_tokens, num_steps, num_passes, at_once (responses a pass of the
    update), rollout_at_once (of sampling and of the reference), learning_rate, kl_coef, scratch, tell (whether the
    first rollouts are given back)."""
    torch.manual_seed(0)
    rows = job["num_samples"] * len(job["prompts"])
    assert rows % job["at_once"] == 0
    options = {
        "per_device_train_batch_size": job["at_once"],
        "gradient_accumulation_steps": rows // job["at_once"],
        "local_rollout_forward_batch_size": job["rollout_at_once"],
        "num_ppo_epochs": job["num_passes"],
        "num_mini_batches": 1,
        "response_length": job["num_tokens"],
        "kl_coef": job["kl_coef"],
        "temperature": 1.0,
        "num_sample_generations": 0,
    }
    tokenizer = load_tokenizer(job)
    judge, listener = Judge(tokenizer, job["num_tokens"]), Listener(job["tell"])
    ppo_trainer.batch_generation = listener
    trainer = PPOTrainer(
        args=PPOConfig(total_episodes=rows * job["num_steps"], **arguments(job), **options),
        processing_class=tokenizer,
        model=load_model(job),
        ref_model=None,  # the adapter is off while the reference speaks
        reward_model=judge,
        train_dataset=Dataset.from_list([{"input_ids": p} for p in job["prompts"] for _ in range(job["num_samples"])]),
        value_model=value_model(job),
        peft_config=adapter_config(job),
    )
    put_adapter(trainer.policy_model, job)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    seconds = time.perf_counter() - started
    step = next(entry for entry in trainer.state.log_history if "objective/kl" in entry)
    assert listener.first is not None
    return {
        "seconds": seconds / job["num_steps"],
        "tokens": listener.first[:, -job["num_tokens"] :].numel(),
        "kl": float(step["objective/kl"]) / job["num_tokens"],
        "rollouts": told(job, tokenizer.pad_token_id, judge, listener) if job["tell"] else None,
        "settings": {
            "trainer": "trl.experimental.ppo.PPOTrainer",
            "reference": "adapter off",
            "value_model": "a base of its own with LoRA of the same rank",
            "threads": torch.get_num_threads(),
            **SETTINGS,
            **options,
        },
        "versions": versions("trl", "transformers", "torch", "peft", "accelerate", "datasets"),
    }


def told(job: dict[str, Any], pad: int, judge: Judge, listener: Listener) -> list[dict[str, Any]]:
    """The first rollouts; the trainer shuffles its prompts, so each row is asked which one it begins with."""
    assert listener.first is not None
    found = []
    for row, logprob, score in zip(listener.first.tolist(), listener.logprobs, judge.given, strict=False):
        query, response = row[: -job["num_tokens"]], row[-job["num_tokens"] :]
        prompt = job["prompts"].index([token for token in query if token != pad])
        found.append({"prompt": prompt, "response": response, "logprob": logprob, "score": score})
    return found


if __name__ == "__main__":
    serve(main)
