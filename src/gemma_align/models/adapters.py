"""LoRA adapters in PEFT's format: saved so that plain PEFT reads them, read so that a bad one is refused.

An adapter folder may come from anyone. Only safetensors are read, and of adapter_config.json only the settings that
say what a LoRA adapter computes; settings that would rewrite the base model's weights while loading are refused.
"""

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from gemma_align.errors import CheckpointError
from gemma_align.models.bundled import bundle
from gemma_align.models.checkpoints import CheckpointInfo
from gemma_align.models.folder import read_json
from gemma_align.models.hub import HUB_ID
from gemma_align.models.model_card import public_name, share_mode, write_adapter_card
from gemma_align.models.quiet import quiet

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
BASE = "base.json"
SETTINGS = (
    "r",
    "lora_alpha",
    "target_modules",
    "exclude_modules",
    "lora_dropout",
    "fan_in_fan_out",
    "bias",
    "lora_bias",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "layers_pattern",
    "task_type",
)
REFUSED = ("modules_to_save", "layer_replication", "target_parameters", "trainable_token_indices", "megatron_config")
HARMLESS_STARTS = (None, True, False, "gaussian", "eva")
LARGEST_RANK = 1024


def save_adapter(model: PeftModel, folder: Path, base: CheckpointInfo) -> None:
    """Write the adapter, and `base.json` saying which checkpoint it belongs to.

    Saved under the checkpoint's name, not the path where it lies on this machine, with a README of ours for PEFT's
    empty form, and without PEFT's look at the hub for whether the vocabulary was resized.
    """
    config = model.peft_config["default"]
    before, config.base_model_name_or_path = config.base_model_name_or_path, public_name(base)
    try:
        model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    finally:
        config.base_model_name_or_path = before
    record = {"spec": public_name(base), "fingerprint": base.fingerprint}
    (folder / BASE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    write_adapter_card(folder, base)
    share_mode(folder)


def load_adapter(
    model: PreTrainedModel, adapter_dir: Path, *, base: CheckpointInfo | None = None, trainable: bool = False
) -> PeftModel:
    """Put the adapter of a folder on a model, after checking that it is whole, finite and made for it.

    Args:
        model: the base model; its layers are wrapped in place, but only once nothing speaks against it.
        adapter_dir: a folder in PEFT's format.
        base: where the model came from; compared with what the adapter was trained on where that is recorded.
        trainable: the adapter takes gradients.

    Raises:
        CheckpointError: says what is wrong with the adapter.
    """
    config = _read_config(adapter_dir, trainable=trainable)
    if base is not None:
        _check_base(adapter_dir, base)
    tensors = _read_tensors(adapter_dir)
    # The start values drawn here are replaced; the caller's draws are not.
    with quiet(), torch.random.fork_rng(devices=[]):
        _check_shapes(adapter_dir, tensors, _expected(adapter_dir, model, config))
        wrapped = get_peft_model(model, config)
    set_peft_model_state_dict(wrapped, tensors)
    return wrapped if trainable else wrapped.eval()


def _expected(folder: Path, model: PreTrainedModel, config: LoraConfig) -> dict[str, Tensor]:
    """The tensors that the adapter of a configuration has, without values.

    Found on a twin of the model that has no values either, so a refused adapter leaves no trace on the model.
    """
    with torch.device("meta"):
        twin = type(model)(copy.deepcopy(model.config))
    try:
        return get_peft_model_state_dict(get_peft_model(twin, copy.deepcopy(config)), save_embedding_layers=False)
    except Exception as error:  # PEFT answers nonsense settings with whatever they run into
        raise CheckpointError(f"{folder}: the adapter doesn't fit the model: {error}") from error


def _read_config(folder: Path, *, trainable: bool) -> LoraConfig:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: wanted an adapter folder ({CONFIG} and {WEIGHTS}); it does not exist")
    path = folder / CONFIG
    given = read_json(path)
    if given.get("peft_type") != "LORA":
        raise CheckpointError(f"{path}: wanted peft_type LORA, given {given.get('peft_type')!r}")
    if given.get("task_type") not in (None, "CAUSAL_LM"):
        raise CheckpointError(f"{path}: wanted task_type CAUSAL_LM, given {given['task_type']!r}")
    if used := [name for name in REFUSED if given.get(name)]:
        raise CheckpointError(f"{path}: {', '.join(used)} is used, which this package doesn't support")
    if given.get("init_lora_weights") not in HARMLESS_STARTS:
        raise CheckpointError(
            f"{path}: init_lora_weights is {given['init_lora_weights']!r}, which changes the base model's "
            "weights while loading. Convert it to a plain LoRA adapter with PEFT first."
        )
    _check_numbers(path, given)
    kept = {name: given[name] for name in SETTINGS if given.get(name) is not None}
    try:
        return LoraConfig(**kept | {"task_type": "CAUSAL_LM", "inference_mode": not trainable})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _check_numbers(path: Path, given: Mapping[str, Any]) -> None:
    ranks = [given.get("r"), *_values(path, given, "rank_pattern")]
    if not all(type(rank) is int and 0 < rank <= LARGEST_RANK for rank in ranks):
        raise CheckpointError(f"{path}: wanted r as a whole number from 1 to {LARGEST_RANK}, given {ranks}")
    alphas = [given.get("lora_alpha"), *_values(path, given, "alpha_pattern")]
    if not all(type(alpha) in (int, float) and abs(alpha) < 1e6 for alpha in alphas):
        raise CheckpointError(f"{path}: wanted lora_alpha as a number, given {alphas}")
    targets = given.get("target_modules")
    names = targets if isinstance(targets, list) else [targets]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise CheckpointError(f"{path}: wanted target_modules as names of modules, given {targets!r}")
    if isinstance(targets, str):
        try:
            re.compile(targets)
        except re.error as error:
            raise CheckpointError(f"{path}: target_modules {targets!r} is not a regular expression: {error}") from error


def _values(path: Path, given: Mapping[str, Any], name: str) -> list[Any]:
    pattern = given.get(name) or {}
    if not isinstance(pattern, dict):
        raise CheckpointError(f"{path}: wanted {name} as an object, given {pattern!r}")
    return list(pattern.values())


def _check_base(folder: Path, base: CheckpointInfo) -> None:
    if not (folder / BASE).is_file():
        _check_name(folder, base)  # saved by plain PEFT, which records no fingerprint
        return
    trained_on = read_json(folder / BASE)
    if trained_on.get("fingerprint") != base.fingerprint:
        raise CheckpointError(
            f"{folder} was trained on {trained_on.get('spec')!r} "
            f"(fingerprint {str(trained_on.get('fingerprint'))[:12]}), "
            f"and the model is {base.spec!r} (fingerprint {base.fingerprint[:12]}). Load the checkpoint it belongs to."
        )


def _check_name(folder: Path, base: CheckpointInfo) -> None:
    """Base and instruct checkpoints have the same shapes, so hub names are compared; another owner is no fault."""
    name = read_json(folder / CONFIG).get("base_model_name_or_path")
    published = base.spec if base.source == "hub" else None
    if base.source == "bundled":
        published = bundle(base.spec.removeprefix("bundled:")).upstream
    if published is None or not isinstance(name, str) or not HUB_ID.fullmatch(name):
        return
    if name.split("/")[1].lower() != published.split("/")[1].lower():
        raise CheckpointError(
            f"{folder} was trained on {name!r}, and the model is {base.spec!r}. Load the checkpoint it belongs to."
        )


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = folder / "adapter_model.bin"
        if pickled.exists():
            raise CheckpointError(
                f"{pickled} is pickled, and reading it can run code. Wanted {WEIGHTS}: load it where you trust it and "
                "save it with save_pretrained(..., safe_serialization=True)."
            )
        raise CheckpointError(f"{path} is missing: the adapter was not saved to its end")
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own type from Rust, and OSError
        raise CheckpointError(f"{path} can't be read: {error}") from error
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    shared = [name for name in tensors if "lm_head" in name or "embed_tokens" in name]
    if shared:
        raise CheckpointError(
            f"{path} adapts {shared[0]}: Gemma's input table and output layer are one tensor, so adapters of it "
            "can't be merged and aren't supported"
        )
    if broken:
        raise CheckpointError(f"{path}: {len(broken)} tensors hold NaN or infinity, such as {broken[0]}")
    return tensors


def _check_shapes(folder: Path, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    if missing := sorted(wanted.keys() - given.keys()):
        raise CheckpointError(
            f"{folder}: the adapter lacks {len(missing)} tensors the model takes, such as {missing[0]}"
        )
    if extra := sorted(given.keys() - wanted.keys()):
        raise CheckpointError(
            f"{folder}: the adapter has {len(extra)} tensors the model has no place for, such as {extra[0]}"
        )
    for name, tensor in wanted.items():
        if given[name].shape != tensor.shape:
            raise CheckpointError(
                f"{folder}: {name}: wanted shape {tuple(tensor.shape)}, given {tuple(given[name].shape)}. "
                "The adapter was trained on a model of another size."
            )
