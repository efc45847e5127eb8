"""Whole steps of TRL's GRPOTrainer on the given prompts: rollouts, rewards, update; nothing stops early."""

import time
import warnings
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from benchmarks.programs.child import serve, versions
from benchmarks.programs.distinct import distinct_words
from benchmarks.programs.trl_start import (
    SETTINGS,
    adapter_config,
    arguments,
    load_model,
    load_tokenizer,
    put_adapter,
)


class Listening(GRPOTrainer):
    """Keeps what the first batch of rollouts was."""

    first: dict[str, Any] | None = None

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        batch = super()._generate_and_score_completions(inputs)
        self.first = self.first or batch
        return batch


def as_text(tokenizer: Any, prompt: list[int]) -> str:
    """The trainer takes text alone; this is the one that it turns into these ids."""
    text = str(tokenizer.decode(prompt[1:], skip_special_tokens=False))
    again = tokenizer(text=[text])["input_ids"][0]
    if list(again) != prompt:
        raise ValueError(f"a prompt of {len(prompt)} tokens is another of {len(again)} once it was text: {text[:80]!r}")
    return text


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, prompts, num_samples, num_tokens, num_steps, at_once (responses a pass), learning_rate,
    kl_coef, scratch, tell (whether the first rollouts are given back)."""
    torch.manual_seed(0)
    rows = job["num_samples"] * len(job["prompts"])
    assert rows % job["at_once"] == 0
    options = {
        "per_device_train_batch_size": job["at_once"],
        "gradient_accumulation_steps": rows // job["at_once"],
        "num_generations": job["num_samples"],
        "max_completion_length": job["num_tokens"],
        "beta": job["kl_coef"],
        "num_iterations": 1,
        "temperature": 1.0,
        "shuffle_dataset": False,
    }
    scores: list[float] = []

    def reward(completions: list[str], **kwargs: Any) -> list[float]:
        found = [distinct_words(text) for text in completions]
        scores.extend(found)
        return found

    tokenizer = load_tokenizer(job)
    trainer = Listening(
        model=load_model(job),
        reward_funcs=reward,
        args=GRPOConfig(max_steps=job["num_steps"], **arguments(job), **options),
        train_dataset=Dataset.from_list([{"prompt": as_text(tokenizer, prompt)} for prompt in job["prompts"]]),
        processing_class=tokenizer,
        peft_config=adapter_config(job),
    )
    put_adapter(trainer.model, job)
    # A word that isn't in the vocabulary ends a response, so none does. `min_new_tokens` is the documented way to the
    # same end, and rewrites all logits of every token.
    trainer.eos_token_ids = trainer.generation_config.eos_token_id = [trainer.model.config.vocab_size]
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    seconds = time.perf_counter() - started
    step = next(entry for entry in trainer.state.log_history if "loss" in entry)
    batch = trainer.first
    assert batch is not None
    prompt_of = [p for p in range(len(job["prompts"])) for _ in range(job["num_samples"])]
    told = zip(
        prompt_of,
        batch["completion_ids"].tolist(),
        batch["ref_per_token_logps"].mean(dim=1).tolist(),
        scores[:rows],
        strict=True,
    )
    names = ("prompt", "response", "logprob", "score")
    return {
        "seconds": seconds / job["num_steps"],
        "tokens": int(batch["completion_mask"].sum()),
        "kl": float(step["kl"]),
        "rollouts": [dict(zip(names, each, strict=True)) for each in told] if job["tell"] else None,
        "settings": {
            "trainer": "trl.GRPOTrainer",
            "reference": "adapter off",
            "threads": torch.get_num_threads(),
            **SETTINGS,
            **options,
        },
        "versions": versions("trl", "transformers", "torch", "peft", "accelerate", "datasets"),
    }


if __name__ == "__main__":
    serve(main)
