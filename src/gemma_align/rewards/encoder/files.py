"""A fitted encoder as a folder: weights as safetensors, everything else as JSON. Nothing is unpickled.

    encoder.safetensors   the encoder's own weights, feature and score scales, slope
    reward.json           format, settings, what it stands on (fingerprint), and the account of its fit

A folder may come from anyone: names, shapes and finiteness are checked before anything is taken over.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gemma_align.config import EncoderConfig
from gemma_align.errors import CheckpointError
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder.build import build_encoder
from gemma_align.rewards.encoder.model import RewardEncoder

FORMAT = "gemma-align encoder 2"
WEIGHTS = "encoder.safetensors"
RECORD = "reward.json"
REMEDY = "fit one with `gemma-align reward fit`"


def save_encoder(encoder: RewardEncoder, config: EncoderConfig, folder: Path, account: Mapping[str, Any]) -> None:
    """Write the encoder into an empty folder. `account`: further JSON values of reward.json, such as its accuracy.

    Raises:
        OSError: it can't be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    try:
        save_file(tensors, str(folder / WEIGHTS), metadata={"format": "pt"})
    except SafetensorError as error:  # a disk that is full is told in its own class
        raise OSError(str(error)) from error
    record = {
        "format": FORMAT,
        "encoder": config.model_dump(mode="json", exclude={"path"}),
        "stands_on": encoder.backbone.fingerprint,
        "prompt_format": encoder.backbone.reads,
        "standardisation": {
            "head_mean": encoder.head_mean.tolist(),
            "score_std": encoder.score_std.item(),
            "slope": encoder.slope.item(),
        },
        **account,
    }
    text = json.dumps(record, indent=2, allow_nan=False, sort_keys=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """reward.json. CheckpointError where there is none that can be read."""
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"reward.encoder.path={folder}: wanted a folder with {RECORD} and {WEIGHTS}; {path} can't be read "
            f"({error}). Give another folder, or {REMEDY}"
        ) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else type(record).__name__
        raise CheckpointError(f"{path}: wanted format {FORMAT!r}, found {found!r}: {REMEDY}")
    return record


def open_encoder(folder: Path, load_policy: Callable[[], Policy]) -> RewardEncoder:
    """`load_encoder`, with the policy loaded only where the encoder stands on it."""
    saved = read_record(folder).get("encoder")
    stands_alone = isinstance(saved, dict) and saved.get("backbone") == "minilm"
    return load_encoder(folder, None if stands_alone else load_policy())


def load_encoder(folder: Path, policy: Policy | None) -> RewardEncoder:
    """The encoder of a folder, for use: in evaluation mode, and nothing in it takes gradients.

    Args:
        folder: what `gemma-align reward fit` wrote.
        policy: whose embeddings or base model it stands on; may be None for the backbone `minilm`.

    Raises:
        CheckpointError: not an encoder, a damaged one, or one that stands on other weights.
    """
    record = read_record(folder)
    try:
        config = EncoderConfig.model_validate(record.get("encoder"))
    except ValidationError as error:
        raise CheckpointError(f"{folder / RECORD}: its settings can't be used: {error}. {REMEDY}") from error
    if policy is None and config.backbone != "minilm":
        raise CheckpointError(f"{folder}: its backbone {config.backbone} stands on the policy, and none is loaded")
    encoder = build_encoder(config, policy)
    if record.get("stands_on") != encoder.backbone.fingerprint:
        raise CheckpointError(
            f"{folder}: it was fitted on weights {str(record.get('stands_on'))[:12]}…, these are "
            f"{encoder.backbone.fingerprint[:12]}…: give the model.checkpoint that it was fitted with, or {REMEDY}"
        )
    if record.get("prompt_format") != encoder.backbone.reads:
        raise CheckpointError(
            f"{folder}: it was fitted on {record.get('prompt_format')!r} prompts, the policy writes "
            f"{encoder.backbone.reads!r} ones: give model.prompt_format={record.get('prompt_format')}, or {REMEDY}"
        )
    _fill(encoder, folder / WEIGHTS)
    return encoder.requires_grad_(False).eval()


def _fill(encoder: RewardEncoder, path: Path) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} can't be read ({error}): {REMEDY}") from error
    wanted = encoder.state_dict()
    if odd := sorted(set(wanted) ^ set(tensors)):
        raise CheckpointError(f"{path}: wanted the tensors of its settings; missing or too many: {', '.join(odd[:4])}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            raise CheckpointError(
                f"{path}: {name}: wanted {tuple(wanted[name].shape)} of {wanted[name].dtype}, "
                f"found {tuple(tensor.shape)} of {tensor.dtype}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds numbers that aren't finite: {REMEDY}")
    if not float(tensors["score_std"]) > 0 or not bool((tensors["feature_std"] > 0).all()):
        raise CheckpointError(f"{path}: wanted standard deviations above 0: {REMEDY}")
    encoder.load_state_dict(tensors)
