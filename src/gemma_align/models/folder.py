"""A local checkpoint folder: is it what this package can train, and its model and tokenizer.

Weights are read from safetensors only: pickled ones can run code. No code from a checkpoint is ever run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoTokenizer, Gemma3ForCausalLM, PreTrainedTokenizerBase

from gemma_align.errors import CheckpointError
from gemma_align.models.quiet import quiet

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: missing, unreadable, or something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} can't be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: wanted a JSON object, given {type(value).__name__}")
    return value


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse what is not an unquantised Gemma 3 text model.

    Raises:
        CheckpointError: says what it is instead and what can be given.
    """
    kind = config.get("model_type")
    if kind == "gemma3":
        raise CheckpointError(
            f"{where} is a Gemma 3 with vision (model_type gemma3); only the text models can be trained here "
            "(model_type gemma3_text: the 270m and 1b sizes)."
        )
    if kind != "gemma3_text":
        raise CheckpointError(f"{where}: wanted a Gemma 3 text model (model_type gemma3_text), given {kind!r}.")
    if config.get("quantization_config"):
        raise CheckpointError(
            f"{where} is quantised; wanted plain weights (fp32 or bf16). Give the checkpoint it was made from."
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder, in order.

    Raises:
        CheckpointError: there are none, or some are missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise CheckpointError(f"{folder / INDEX} names no weight files")
        names = sorted({str(name) for name in shards.values()})
        for name in names:
            if name != Path(name).name or not name.endswith(".safetensors"):
                raise CheckpointError(f"{folder / INDEX} names {name!r}: wanted safetensors files of the same folder")
            if not (folder / name).is_file():
                raise CheckpointError(f"{folder} is incomplete: {name} is missing")
        return [folder / name for name in names]
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise CheckpointError(
            f"{folder} holds pickled weights ({', '.join(pickled[:3])}), which can run code when they are read. "
            "Wanted safetensors: load them where you trust them and call save_pretrained once more."
        )
    raise CheckpointError(f"{folder} holds no weights: wanted {WEIGHTS}, or {INDEX} and the files it names.")


def check_folder(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint folder that can be used.

    Raises:
        CheckpointError: it can't; says what the folder seems to be.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            hint = "This is an adapter: give the checkpoint that it was trained on."
        elif (folder / "config.yml").is_file():
            hint = f"This is a run: `gemma-align export {folder} --merged DIR` makes a checkpoint of it."
        elif any(folder.glob("*.gguf")):
            hint = "GGUF files can't be trained: give the checkpoint the file was made from."
        else:
            hint = "A checkpoint holds config.json, *.safetensors and the tokenizer's files."
        raise CheckpointError(f"{folder} is not a checkpoint folder: it has no config.json. {hint}")
    config = read_json(folder / "config.json")
    check_config(config, str(folder))
    weight_files(folder)
    return config


def load_model(folder: Path, dtype: torch.dtype) -> Gemma3ForCausalLM:
    """The model of a checked folder, on the CPU. In the stored precision its weights stay mapped: one copy in memory.

    Raises:
        CheckpointError: the weights are damaged or don't belong to the configuration.
    """
    try:
        with quiet():
            loaded: Any = Gemma3ForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation="sdpa",
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
            model, report = cast("tuple[Gemma3ForCausalLM, dict[str, Any]]", loaded)
    except Exception as error:  # a damaged file surfaces as any of half a dozen types, also from Rust
        raise CheckpointError(f"{folder}: the weights can't be read: {_first_line(error)}") from error
    # Without this transformers would fill what is missing with random numbers and only log it.
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found := sorted(str(key) for key in report.get(kind, ())):
            raise CheckpointError(
                f"{folder}: weights and config.json don't belong together: "
                f"{len(found)} {kind.replace('_', ' ')}, such as {found[0]}"
            )
    return model.eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint folder.

    Raises:
        CheckpointError: missing or damaged, or it would need code from the checkpoint.
    """
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{folder} has no tokenizer.json: wanted the checkpoint's own tokenizer beside its weights."
        )
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise CheckpointError(f"{folder}: the tokenizer can't be read: {_first_line(error)}") from error
    return tokenizer


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, vocab_size: int, where: str) -> None:
    """Refuse a tokenizer that doesn't fit the model.

    Raises:
        CheckpointError: ids beyond the embedding table, or no start or end token.
    """
    if len(tokenizer) > vocab_size:
        raise CheckpointError(f"{where}: the tokenizer has {len(tokenizer)} tokens, the model only {vocab_size}.")
    for token in ("bos_token", "eos_token"):
        if getattr(tokenizer, f"{token}_id") is None:
            raise CheckpointError(f"{where}: the tokenizer has no {token}, so it isn't Gemma's.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
