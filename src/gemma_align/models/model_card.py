"""The README and the notice that go with exported weights: base, terms, and how they were trained."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gemma_align.models.checkpoints import CheckpointInfo

NOTICE = "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms\n"
"""The Gemma Terms of Use, section 3.1, ask for this sentence in a file that goes with every copy."""


def write_model_card(folder: Path, config: Mapping[str, Any], base: CheckpointInfo) -> None:
    """Write README.md, and NOTICE where the base model's terms ask for it.

    Args:
        folder: the exported model.
        config: the run's resolved configuration.
        base: the checkpoint the run started from.
    """
    (folder / "README.md").write_text("\n".join(_lines(config, base)) + "\n", encoding="utf-8")
    if base.licence is not None:
        (folder / "NOTICE").write_text(NOTICE, encoding="utf-8")
        terms = None if base.path is None else base.path / "GEMMA_TERMS.html"
        if terms is not None and terms.is_file():
            (folder / terms.name).write_bytes(terms.read_bytes())


def write_adapter_card(folder: Path, base: CheckpointInfo) -> None:
    """Write the README.md of an adapter, in place of the empty form PEFT leaves there."""
    lines = ["---", "library_name: peft", "pipeline_tag: text-generation"]
    if base.source == "hub":
        lines.append(f"base_model: {base.spec}")
    lines += [
        "tags: [gemma3, gemma-align, lora]",
        "---",
        "",
        f"# LoRA adapter for {public_name(base)}",
        "",
        "```python",
        "from peft import PeftModel",
        "",
        'model = PeftModel.from_pretrained(base_model, "this/folder")  # base_model: the one named below',
        "```",
        "",
        f"- Base model: {public_name(base)} (fingerprint {base.fingerprint[:16]})",
        *([f"- Quantised: {base.quantised_from}"] if base.quantised_from else []),
        *(["", f"Licence: {base.licence}. {NOTICE.strip()}."] if base.licence else []),
    ]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def share_mode(folder: Path) -> None:
    """Give every file the mode of README.md: safetensors makes files that only their owner can read."""
    for path in folder.iterdir():
        if path.is_file():
            path.chmod((folder / "README.md").stat().st_mode)


def _lines(config: Mapping[str, Any], base: CheckpointInfo) -> Iterator[str]:
    gemma = base.licence is not None
    yield "---"
    yield "library_name: transformers"
    yield "pipeline_tag: text-generation"
    if gemma:
        yield "license: gemma"
    if base.source == "hub":
        yield f"base_model: {base.spec}"
    yield "tags: [gemma3, gemma-align]"
    yield "---"
    yield ""
    yield f"# {public_name(base)}, trained with gemma-align"
    yield ""
    yield "```python"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    yield ""
    yield 'model = AutoModelForCausalLM.from_pretrained("this/folder")'
    yield 'tokenizer = AutoTokenizer.from_pretrained("this/folder")'
    yield "```"
    yield ""
    yield f"- Base model: {public_name(base)} (fingerprint {base.fingerprint[:16]})"
    if base.quantised_from:
        yield f"- The base weights were quantised before training: {base.quantised_from}"
    yield from _training(config)
    yield ""
    if gemma:
        yield f"Licence: {base.licence}. This is a modified version of Gemma. {NOTICE.strip()}."
    else:
        yield "The base model was random: these weights are for tests and of no other use."


def public_name(base: CheckpointInfo) -> str:
    """The base model's name; of a local folder only the last part, for its path is nobody's business."""
    return base.path.name if base.source == "folder" and base.path is not None else base.spec


def _training(config: Mapping[str, Any]) -> Iterator[str]:
    model, training = config.get("model") or {}, config.get("training") or {}
    stages = config.get("stages")
    if stages:
        yield f"- Trained by: {', then '.join(str(stage.get('method')) for stage in stages)}"
    for key in ("task", "seed"):
        if config.get(key) is not None:
            yield f"- {key.capitalize()}: {config[key]}"
    if lora := model.get("lora"):
        modules = ", ".join(str(module) for module in lora.get("target_modules") or ())
        yield f"- LoRA: r={lora.get('r')}, alpha={lora.get('alpha')}, on {modules}; merged into the weights in float32"
    else:
        yield "- All weights were trained; they are float32"
    if model.get("prompt_format") is not None:
        yield f"- Prompt format: {model['prompt_format']}"
    for key in ("learning_rate", "num_epochs"):
        if training.get(key) is not None:
            yield f"- {key.replace('_', ' ').capitalize()}: {training[key]}"
