"""TRL's DPOTrainer on the given pairs of token ids, in the given order, from the given adapter."""

import time
import warnings
from typing import Any

import torch
from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from benchmarks.programs.child import serve, versions
from benchmarks.programs.trl_start import (
    SETTINGS,
    adapter_config,
    arguments,
    load_model,
    load_tokenizer,
    put_adapter,
)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, pairs, batch_size, at_once (pairs a pass), learning_rate, beta, scratch."""
    torch.manual_seed(0)
    assert job["batch_size"] % job["at_once"] == 0
    options = {
        "per_device_train_batch_size": job["at_once"],
        "gradient_accumulation_steps": job["batch_size"] // job["at_once"],
        "beta": job["beta"],
        "loss_type": ["sigmoid"],
        "precompute_ref_log_probs": False,  # ours computes them within the measured time too, each pair's once
        "train_sampling_strategy": "sequential",
        "max_length": None,
    }
    trainer = DPOTrainer(
        model=load_model(job),
        args=DPOConfig(num_train_epochs=1, **arguments(job), **options),
        train_dataset=Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        processing_class=load_tokenizer(job),
        peft_config=adapter_config(job),
    )
    put_adapter(trainer.model, job)
    trainer.train_dataset = Dataset.from_list(  # it takes text alone and tokenizes it; these are the ids that ours has
        [{f"{name}_ids": pair[name] for name in ("prompt", "chosen", "rejected")} for pair in job["pairs"]]
    )
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    seconds = time.perf_counter() - started
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "seconds": seconds / len(steps),
        "losses": [float(step["loss"]) for step in steps],
        "chosen": [float(step["logps/chosen"]) for step in steps],
        "rejected": [float(step["logps/rejected"]) for step in steps],
        "settings": {
            "trainer": "trl.DPOTrainer",
            "reference": "adapter off",
            "threads": torch.get_num_threads(),
            **SETTINGS,
            **options,
        },
        "versions": versions("trl", "transformers", "torch", "peft", "accelerate", "datasets"),
    }


if __name__ == "__main__":
    serve(main)
