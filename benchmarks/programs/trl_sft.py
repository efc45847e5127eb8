"""TRL's SFTTrainer on the given token ids: one epoch, in the given order, from the given adapter."""

import time
import warnings
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from benchmarks.programs.child import serve, versions


def train(job: dict[str, Any]) -> dict[str, Any]:
    """job: model, adapter, examples, batch_size, learning_rate, max_steps, options (further SFTConfig fields)."""
    torch.manual_seed(0)
    options = {
        "loss_type": "nll",  # in TRL 1.16 the fused head: logits in tiles, never all at once
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",  # the parent has already put the examples in order
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "max_length": None,
        **job["options"],
    }
    attention = options.pop("attn_implementation", "sdpa")
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, attn_implementation=attention)
    model = PeftModel.from_pretrained(model, job["adapter"], is_trainable=True)
    data = Dataset.from_dict(
        {
            "input_ids": [e["prompt"] + e["response"] for e in job["examples"]],
            "completion_mask": [[0] * len(e["prompt"]) + [1] * len(e["response"]) for e in job["examples"]],
        }
    )
    config = SFTConfig(
        output_dir=job["scratch"],
        use_cpu=True,
        bf16=False,
        fp16=False,
        seed=0,
        per_device_train_batch_size=job["batch_size"],
        num_train_epochs=1,
        max_steps=job["max_steps"] or -1,
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        warmup_steps=0,
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        completion_only_loss=True,
        logging_strategy="steps",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **options,
    )
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    seconds = time.perf_counter() - started
    losses = [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]
    return {
        "seconds": seconds,
        "losses": losses,
        "settings": {
            "trainer": "trl.SFTTrainer",
            "precision": "float32",
            "attn_implementation": attention,
            "completion_only_loss": True,
            "optim": "adamw_torch",
            "threads": torch.get_num_threads(),
            **options,
        },
        "versions": versions("trl", "transformers", "torch", "peft", "accelerate", "datasets"),
    }


if __name__ == "__main__":
    serve(train)
