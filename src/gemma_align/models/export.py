"""A run's result as a plain transformers folder that loads anywhere, without PEFT and without this package.

The adapter is merged in float32: W + (alpha / r) B A (Hu et al. 2021, section 4.1). The merged model is compared with
the adapter's before anything is written.
"""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gemma_align.errors import CheckpointError
from gemma_align.models.adapters import load_adapter
from gemma_align.models.cache import require_space
from gemma_align.models.checkpoints import CheckpointInfo, load_checkpoint
from gemma_align.models.folder import check_folder, load_model, read_json
from gemma_align.models.model_card import share_mode, write_model_card
from gemma_align.models.quiet import quiet

END_TOKENS = ("<eos>", "<end_of_turn>")


def export_merged(run: Path, target: Path) -> Path:
    """Write the model that a run trained to `target`.

    Args:
        run: a finished run folder: config.yml, environment.json and adapter/ (PEFT format, or a whole model where all
            weights were trained).
        target: a folder that doesn't exist yet, or is empty. It appears whole or not at all.

    Returns:
        `target`.

    Raises:
        CheckpointError: unfinished run, another base model than the run's, a damaged adapter, no room, target in use.
    """
    _check_target(target)
    config = _read_run(run)
    spec = config["model"]["checkpoint"]
    loaded = load_checkpoint(spec, device="cpu", dtype=torch.float32)
    _check_base(run, loaded.info)
    model = _merged(run / "adapter", loaded.model, loaded.info)
    _stop_at_turn_ends(model, loaded.tokenizer)
    target.parent.mkdir(parents=True, exist_ok=True)
    num_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    require_space(target.parent, int(1.1 * num_bytes) + 50_000_000, what="the export")
    part = target.parent / f".{target.name}.part-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        part.mkdir()
        with quiet():
            model.save_pretrained(part, safe_serialization=True)
            loaded.tokenizer.save_pretrained(part)
        write_model_card(part, config, loaded.info)
        share_mode(part)
        if target.is_dir():
            target.rmdir()  # refuses where something was put there meanwhile
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return target


def _check_target(target: Path) -> None:
    if target.is_dir() and any(target.iterdir()):
        raise CheckpointError(f"{target} is not empty; wanted a new or empty folder, so that nothing is overwritten")
    if target.exists() and not target.is_dir():
        raise CheckpointError(f"{target} is a file; wanted a new or empty folder")


def _read_run(run: Path) -> Mapping[str, Any]:
    """The run's resolved configuration."""
    if not run.is_dir():
        raise CheckpointError(f"{run}: wanted the folder of a finished run; it does not exist")
    if not (run / "config.yml").is_file():
        raise CheckpointError(f"{run} is not a run folder: it has no config.yml")
    if not (run / "adapter").is_dir():
        raise CheckpointError(f"{run} has no adapter/: the run did not finish. Resume it first.")
    try:
        config = yaml.safe_load((run / "config.yml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"{run / 'config.yml'} can't be read: {error}") from error
    model = config.get("model") if isinstance(config, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("checkpoint"), str):
        raise CheckpointError(
            f"{run / 'config.yml'} doesn't name model.checkpoint, so it is not a run's resolved config"
        )
    return config


def _check_base(run: Path, info: CheckpointInfo) -> None:
    recorded = read_json(run / "environment.json").get("checkpoint")
    if not isinstance(recorded, dict) or not isinstance(recorded.get("fingerprint"), str):
        raise CheckpointError(f"{run / 'environment.json'} doesn't record which checkpoint the run started from")
    if recorded["fingerprint"] != info.fingerprint:
        raise CheckpointError(
            f"{run} was trained on {recorded.get('spec')!r} with fingerprint {recorded['fingerprint'][:12]}, but "
            f"{info.spec!r} here has {info.fingerprint[:12]}: the checkpoint has changed. Merging would give a model "
            "nobody trained; bring back the checkpoint the run started from."
        )


def _merged(adapter: Path, base: PreTrainedModel, info: CheckpointInfo) -> PreTrainedModel:
    if not (adapter / "adapter_config.json").is_file() and (adapter / "config.json").is_file():
        check_folder(adapter)  # all weights were trained: nothing to merge
        whole = load_model(adapter, torch.float32)
        wanted, given = ({n: p.shape for n, p in m.named_parameters()} for m in (base, whole))
        if wanted != given:
            raise CheckpointError(f"{adapter}: the trained model's shapes are not those of {info.spec!r}")
        return whole
    model = load_adapter(base, adapter, base=info)
    expected = _probe(model)
    # safe_merge looks for NaN and infinity on the way.
    merged: PreTrainedModel = model.merge_and_unload(safe_merge=True)
    error = float((_probe(merged) - expected).abs().max())
    if not error <= 1e-3 * float(expected.abs().max()):
        raise CheckpointError(
            f"{adapter}: the merged model's logits differ from the adapter's by {error:.2g}, so it can't be merged"
        )
    return merged


@torch.no_grad()
def _probe(model: torch.nn.Module) -> Tensor:
    """Logits of a few fixed tokens, (16, V)."""
    ids = torch.arange(2, 18)[None]
    return model(input_ids=ids).logits[0]


def _stop_at_turn_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let `generate` stop at every end token: a base model tuned on chat turns ends them with <end_of_turn>."""
    ids = [tokenizer.convert_tokens_to_ids(token) for token in END_TOKENS]
    known = [i for i in ids if isinstance(i, int) and i != tokenizer.unk_token_id]
    if model.generation_config is not None and known:
        model.generation_config.eos_token_id = known
