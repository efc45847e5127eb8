"""The policy of a configuration without its weights: the same modules, adapter and settings, from shapes alone.

Nothing is read but a checkpoint's config.json, and for a bundled one not even that, so it needn't be unpacked first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from gemma_align.config import Config
from gemma_align.data.templates import PromptFormat
from gemma_align.models.bundled import bundle
from gemma_align.models.checkpoints import TINY, CheckpointInfo
from gemma_align.models.folder import check_config, check_folder, read_json
from gemma_align.models.hub import hub_config
from gemma_align.models.policy import Policy, add_lora
from gemma_align.models.tiny import tiny_model, tiny_tokenizer
from gemma_align.types import Example

GEMMA_3_270M: dict[str, Any] = {
    "vocab_size": 262144,
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_hidden_layers": 18,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 512,
    "max_position_embeddings": 32768,
}
"""Of google/gemma-3-270m's config.json; layers and norms as the class has them by default."""


def architecture(spec: str) -> Gemma3TextConfig:
    """The shapes of the checkpoint a name means (see `models/checkpoints.py`).

    Raises:
        CheckpointError: no such bundled checkpoint, folder or hub id, or not a Gemma 3 text model.
    """
    if spec in TINY:
        return tiny_model(len(tiny_tokenizer())).config
    if spec.startswith("bundled:"):
        bundle(spec.removeprefix("bundled:"))  # refuses unknown names; all there are have this shape
        return Gemma3TextConfig(**GEMMA_3_270M)
    folder = Path(spec).expanduser()
    config = check_folder(folder) if folder.is_dir() else read_json(hub_config(spec))
    check_config(config, spec)
    return Gemma3TextConfig.from_dict(config)


def policy_of_shapes(config: Config, shapes: Gemma3TextConfig, device: str, dtype: torch.dtype) -> Policy:
    """The policy as `Policy.load` puts it together, with new weights on this device ("meta": shapes alone)."""
    with torch.device(device):
        model: nn.Module = Gemma3ForCausalLM._from_config(shapes, dtype=dtype).eval()
    if config.model.lora is not None:
        model = add_lora(model, config.model)
    else:
        model.requires_grad_(True)
    return Policy(
        model,
        None,
        cast(PromptFormat, LongestPrompts(config.model.max_length)),
        CheckpointInfo(config.model.checkpoint, "folder", None, fingerprint=""),
        max_length=config.model.max_length,
        num_rows=config.evaluation.num_rows,
    )


def materialize(model: nn.Module) -> None:
    """New storage for every weight and buffer, shared where it was shared: under `pretend`, a load without a file."""
    made: dict[int, Any] = {}  # weights that are shared (the embedding and the head) stay shared
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for table in tables:
            for name, old in table.items():
                if old is None:
                    continue
                if id(old) not in made:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    is_weight = isinstance(old, nn.Parameter)
                    made[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad) if is_weight else new
                table[name] = made[id(old)]


@dataclass(frozen=True, slots=True)
class LongestPrompts:
    """Stands in for a prompt format: the first prompt is as long as a prompt and its response may be together.

    Caches are made for the longest prompt, so the others may be short. Responses end with token 0, the only one that
    is sampled under `pretend`: one step tells as much as all, as a response's memory is taken at its beginning.
    """

    length: int
    name: str = "longest"
    stop_ids: frozenset[int] = frozenset({0})

    def prompt_ids(self, example: Example) -> tuple[int, ...]:
        """Of the example "0" too long, to be cut to make room for the response."""
        return (1,) * (self.length if example.id == "0" else 2)

    def decode(self, ids: Sequence[int]) -> str:
        """No text."""
        return ""
