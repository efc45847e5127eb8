"""Token ids, weights and the starting adapter, the same for everyone: written once, before anything is measured."""

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from benchmarks.programs.child import serve
from gemma_align.config import DataConfig, LoraConfig, ModelConfig
from gemma_align.data.pairs.notes import corruptions
from gemma_align.data.tasks import load_task
from gemma_align.data.templates import PromptFormat, choose_format, fit
from gemma_align.models.checkpoints import LoadedCheckpoint, load_checkpoint
from gemma_align.models.policy import add_lora
from gemma_align.types import Example

MAX_LENGTH = 1024  # tokens of prompt and response together
LORA_R = 8


def _data() -> tuple[str, str]:
    """What to read, and its name for people."""
    root = Path(os.environ.get("GEMMA_ALIGN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    folder = root / "mts_dialog"
    return (str(folder), "MTS-Dialog") if folder.is_dir() else ("builtin", "builtin clinical dialogues")


def _weights(loaded: LoadedCheckpoint, folder: Path) -> Path:
    """The checkpoint as a transformers folder in float32: its own where it has one, else written here."""
    if loaded.info.path is not None:
        return loaded.info.path.absolute()
    target = folder / f"model-{loaded.info.fingerprint[:12]}"
    loaded.model.save_pretrained(target)
    loaded.tokenizer.save_pretrained(target)
    return target


def _adapter(loaded: LoadedCheckpoint, folder: Path) -> Path:
    """LoRA on q_proj and v_proj; B is zero, A from a fixed seed."""
    target = folder / f"adapter-{loaded.info.fingerprint[:12]}"
    torch.manual_seed(0)
    add_lora(loaded.model, ModelConfig(lora=LoraConfig(r=LORA_R))).save_pretrained(str(target))
    return target


def _preference_pairs(examples: Iterable[Example], prompt_format: PromptFormat) -> Iterator[dict[str, list[int]]]:
    """A note against itself with one fact made false, where there is a fact and both fit beside their prompt."""
    for example in examples:
        wrong = corruptions(example.response or "", seed=0)
        if not wrong:
            continue
        prompt = prompt_format.prompt_ids(example)
        chosen, rejected = (prompt_format.response_ids(text) for text in (example.response or "", wrong[0].text))
        if len(prompt) + max(len(chosen), len(rejected)) <= MAX_LENGTH:
            yield {"prompt": list(prompt), "chosen": list(chosen), "rejected": list(rejected)}


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """job: checkpoint, folder, num_examples, num_prompts, num_pairs."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    loaded = load_checkpoint(job["checkpoint"], device=torch.device("cpu"), dtype=torch.float32)
    prompt_format = choose_format("auto", loaded.tokenizer)
    source, name = _data()
    examples = load_task("clinical", DataConfig(train=source), needs=("response",)).examples("train")

    pairs = [
        fit(prompt_format.prompt_ids(e), prompt_format.response_ids(e.response or ""), MAX_LENGTH, example_id=e.id)
        for e in examples[: job["num_examples"]]
    ]
    prompts = [prompt_format.prompt_ids(e) for e in examples[: job["num_prompts"]]]
    return {
        "seconds": 0.0,
        "data": name,
        "model": str(_weights(loaded, folder)),
        "adapter": str(_adapter(loaded, folder)),
        "checkpoint": loaded.info.as_json(),
        "examples": [{"prompt": list(pair.prompt_ids), "response": list(pair.response_ids)} for pair in pairs],
        "prompts": [list(prompt) for prompt in prompts],
        "pairs": list(islice(_preference_pairs(examples, prompt_format), job["num_pairs"])),
    }


if __name__ == "__main__":
    serve(prepare)
