"""What every program of TRL's starts from: the model, its adapter, and the settings that all trainers share."""

from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from peft.utils import load_peft_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

ATTENTION = "sdpa"
SETTINGS = {  # those that are told with a result, beside a workload's own
    "precision": "float32",
    "attn_implementation": ATTENTION,
    "optim": "adamw_torch",
    "gradient_checkpointing": False,
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": False,
}


def load_model(job: dict[str, Any]) -> Any:
    """The model without an adapter, in float32."""
    return AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, attn_implementation=ATTENTION)


def load_tokenizer(job: dict[str, Any]) -> Any:
    """Padding on the left, as the trainers that sample want it."""
    return AutoTokenizer.from_pretrained(job["model"], padding_side="left")


def adapter_config(job: dict[str, Any]) -> LoraConfig:
    """A trainer that is given this makes the adapter itself and takes the model without it as the reference: cheaper
    than a second adapter, which it makes where it is handed a model that has one."""
    config = LoraConfig.from_pretrained(job["adapter"])
    config.inference_mode = False
    return config


def put_adapter(model: PeftModel, job: dict[str, Any]) -> None:
    """The adapter's first weights, the same as ours."""
    found = set_peft_model_state_dict(model, load_peft_weights(job["adapter"], device="cpu"))
    assert not found.unexpected_keys, found.unexpected_keys


def arguments(job: dict[str, Any]) -> dict[str, Any]:
    """Fields of every trainer's configuration."""
    return {
        "output_dir": job["scratch"],
        "use_cpu": True,
        "bf16": False,
        "fp16": False,
        "seed": 0,
        "learning_rate": job["learning_rate"],
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **{name: value for name, value in SETTINGS.items() if name not in ("precision", "attn_implementation")},
    }
