"""A checkpoint from the Hugging Face hub as a local folder. Only text and safetensors files are ever fetched."""

import re
from pathlib import Path

from huggingface_hub import errors, hf_hub_download, snapshot_download

from gemma_align.errors import CheckpointError

FILES = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def hub_config(hub_id: str) -> Path:
    """Fetch the small config.json alone, so an unsuitable model is refused before its weights come down.

    Raises:
        CheckpointError: it can't be had; says why and what else can be given.
    """
    try:
        return Path(hf_hub_download(hub_id, "config.json"))
    except Exception as error:  # the hub client lets through what its HTTP library raises, and that has changed before
        raise _unavailable(hub_id, error) from error


def hub_folder(hub_id: str) -> Path:
    """Fetch what a checkpoint needs into the hub's own cache.

    Raises:
        CheckpointError: it can't be had; says why and what else can be given.
    """
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(FILES)))
    except Exception as error:
        raise _unavailable(hub_id, error) from error


def _unavailable(hub_id: str, error: Exception) -> CheckpointError:
    match error:
        case errors.GatedRepoError():
            reason = (
                f"the hub wants you to accept the model's licence first: log in at https://huggingface.co/{hub_id}, "
                "accept it there, then run `hf auth login` here (or set HF_TOKEN)"
            )
        case errors.RepositoryNotFoundError():
            reason = (
                "the hub has no such model, or it is private: check the name, and run `hf auth login` "
                "(or set HF_TOKEN) if you have access"
            )
        case errors.RemoteEntryNotFoundError():
            reason = "the repository has no config.json, so it is not a transformers checkpoint"
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            reason = (
                "the hub can't be reached (no network, or HF_HUB_OFFLINE is set) and the model is not in its local "
                "cache: download it where there is a network (`hf download " + hub_id + "`)"
            )
        case _:
            reason = f"the download failed ({': '.join([type(error).__name__, *str(error).strip().splitlines()[:1]])})"
    return CheckpointError(
        f"checkpoint {hub_id}: there is no local folder of this name, so it was looked for on the Hugging Face hub; "
        f"{reason}. Instead you can give a local folder, or bundled:gemma-3-270m, which needs no download."
    )
