"""An export is the trained model, whole, as a folder that plain transformers loads."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from gemma_align.errors import CheckpointError
from gemma_align.models import export
from gemma_align.models.adapters import save_adapter
from gemma_align.models.checkpoints import CheckpointInfo, load_checkpoint
from gemma_align.models.export import export_merged

IDS = torch.arange(8, 72)[None]
CONFIG: dict[str, Any] = {
    "task": "clinical",
    "stages": [{"method": "sft"}],
    "seed": 7,
    "model": {"checkpoint": "tiny", "lora": {"r": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"]}},
    "training": {"learning_rate": 0.001, "num_epochs": 2},
}

LOADER = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = AutoModelForCausalLM.from_pretrained(sys.argv[1]), AutoTokenizer.from_pretrained(sys.argv[1])
print(tokenizer("The patient  x")["input_ids"])
print(model(input_ids=torch.arange(8, 72)[None]).logits.double().abs().sum().item())
assert not [name for name in sys.modules if name.startswith(("peft", "gemma_align"))]
"""


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def write_run(run: Path, spec: str = "tiny", **settings: Any) -> Tensor:
    """A finished run; the logits of what it trained."""
    base = load_checkpoint(spec, device="cpu", dtype=torch.float32)
    lora = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]} | settings)
    lora.task_type = "CAUSAL_LM"
    model = get_peft_model(base.model, lora)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.15, generator=generator)
    write_records(run, base.info)
    save_adapter(model, run / "adapter", base.info)
    return logits(model)


def write_records(run: Path, info: CheckpointInfo, **model: Any) -> None:
    run.mkdir(exist_ok=True)
    config = CONFIG | {"model": CONFIG["model"] | {"checkpoint": info.spec} | model}
    (run / "config.yml").write_text(yaml.safe_dump(config))
    record = {"checkpoint": {"spec": info.spec, "fingerprint": info.fingerprint}}
    (run / "environment.json").write_text(json.dumps(record))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_ALIGN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True, "target_modules": ["o_proj", "down_proj"]},
        {"target_modules": "all-linear"},
        {"use_dora": True},
    ],
)
def test_merged_logits_are_the_adapters(tmp_path: Path, settings: dict[str, Any]) -> None:
    expected = write_run(tmp_path / "run", **settings)
    target = export_merged(tmp_path / "run", tmp_path / "deep" / "export")
    merged = AutoModelForCausalLM.from_pretrained(target)
    assert (logits(merged) - expected).abs().max() < 1e-5
    base = load_checkpoint("tiny", device="cpu", dtype=torch.float32).model
    assert (logits(merged) - logits(base)).abs().max() > 0.1
    assert merged.dtype == torch.float32


def test_it_loads_without_this_package(run: Path, tmp_path: Path) -> None:
    target = export_merged(run, tmp_path / "export")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(target)], capture_output=True, text=True, env=environment, check=True
    )
    ids, total = done.stdout.splitlines()
    base = load_checkpoint("tiny", device="cpu", dtype=torch.float32)
    assert json.loads(ids) == base.tokenizer("The patient  x")["input_ids"]
    adapted = PeftModel.from_pretrained(base.model, str(run / "adapter"))
    assert float(total) == pytest.approx(logits(adapted).double().abs().sum().item(), rel=1e-6)


def test_an_export_can_be_trained_on(run: Path, tmp_path: Path) -> None:
    target = export_merged(run, tmp_path / "export")
    again = load_checkpoint(str(target), device="cpu", dtype=torch.float32)
    assert (logits(again.model) - logits(AutoModelForCausalLM.from_pretrained(target))).abs().max() == 0


def test_what_lies_in_it(run: Path, tmp_path: Path) -> None:
    target = export_merged(run, tmp_path / "export")
    names = {path.name for path in target.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not [name for name in names if name.startswith((".", "adapter"))]
    assert [path.name for path in tmp_path.iterdir() if "export" in path.name] == ["export"]
    readme = (target / "README.md").read_text()
    for part in ("Base model: tiny (", "sft", "Task: clinical", "Seed: 7", "r=4, alpha=8, on q_proj, v_proj", "random"):
        assert part in readme
    assert len({path.stat().st_mode for path in target.iterdir()}) == 1
    for path in target.glob("*.json"):
        assert str(tmp_path) not in path.read_text()
    assert json.loads((target / "generation_config.json").read_text())["eos_token_id"] == [1, 6]


def test_a_chat_checkpoint_keeps_its_template(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "tiny-it")
    target = export_merged(tmp_path / "run", tmp_path / "export")
    turns = [{"role": "user", "content": "Hi"}]
    text = AutoTokenizer.from_pretrained(target).apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"


def test_the_gemma_terms_go_with_gemma(tmp_path: Path) -> None:
    base = load_checkpoint("tiny", device="cpu", dtype=torch.float32)
    folder = tmp_path / "secret" / "gemma-3-270m"
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    write_run(tmp_path / "run", str(folder))
    target = export_merged(tmp_path / "run", tmp_path / "export")
    readme = (target / "README.md").read_text()
    assert "license: gemma\n" in readme
    assert "Base model: gemma-3-270m (" in readme
    assert "secret" not in readme
    assert "ai.google.dev/gemma/terms" in (target / "NOTICE").read_text()


def test_a_run_that_trained_all_weights(tmp_path: Path) -> None:
    base = load_checkpoint("tiny", device="cpu", dtype=torch.float32)
    write_records(tmp_path / "run", base.info, lora=None)
    with torch.no_grad():
        base.model.model.norm.weight.add_(0.5)
    base.model.save_pretrained(tmp_path / "run" / "adapter")
    target = export_merged(tmp_path / "run", tmp_path / "export")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(target)), logits(base.model))
    readme = (target / "README.md").read_text()
    assert "All weights were trained" in readme
    assert "LoRA" not in readme
    assert "merged" not in readme
    assert len(AutoTokenizer.from_pretrained(target)) == len(base.tokenizer)


def other_base(run: Path) -> None:
    record = {"checkpoint": {"spec": "tiny", "fingerprint": "f" * 64}}
    (run / "environment.json").write_text(json.dumps(record))
    (run / "adapter" / "base.json").unlink()


def other_rank(run: Path) -> None:
    path = run / "adapter" / "adapter_config.json"
    path.write_text(path.read_text().replace('"r": 4', '"r": 8'))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "wanted the folder of a finished run; it does not exist"),
        (lambda run: (run / "config.yml").unlink(), "is not a run folder: it has no config.yml"),
        (lambda run: shutil.rmtree(run / "adapter"), "the run did not finish. Resume it first"),
        (lambda run: (run / "adapter" / "adapter_model.safetensors").unlink(), "adapter_model.safetensors is missing"),
        (lambda run: (run / "config.yml").write_text("model: ["), r"config\.yml can't be read"),
        (lambda run: (run / "config.yml").write_text("model: 3"), r"doesn't name model\.checkpoint"),
        (
            lambda run: (run / "config.yml").write_text("!!python/object/apply:os.getcwd []"),
            r"config\.yml can't be read",
        ),
        (lambda run: (run / "environment.json").unlink(), r"environment\.json is missing"),
        (lambda run: (run / "environment.json").write_text("{}"), "doesn't record which checkpoint"),
        (other_base, r"was trained on 'tiny' with fingerprint ffffffffffff, but 'tiny' here has .*has changed"),
        (other_rank, "wanted shape"),
    ],
)
def test_a_run_that_cannot_be_exported(run: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(run)
    with pytest.raises(CheckpointError, match=message):
        export_merged(run, tmp_path / "export")
    assert not [path for path in tmp_path.iterdir() if "export" in path.name]


def test_nothing_is_overwritten(run: Path, tmp_path: Path) -> None:
    target = tmp_path / "export"
    target.mkdir()
    export_merged(run, target)  # an empty folder is as good as none
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    with pytest.raises(CheckpointError, match="is not empty"):
        export_merged(run, target)
    assert {path.name: path.stat().st_mtime_ns for path in target.iterdir()} == before
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CheckpointError, match="is a file"):
        export_merged(run, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"


def test_it_appears_whole_or_not_at_all(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_model_card", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_merged(run, tmp_path / "export")
    assert not [path for path in tmp_path.iterdir() if "export" in path.name]


def test_a_full_disk(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(CheckpointError, match="the export needs"):
        export_merged(run, tmp_path / "export")


def test_a_merge_that_went_wrong_is_found(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peft.tuners.lora.model.LoraModel.merge_and_unload", lambda self, **_: self.unload())
    with pytest.raises(CheckpointError, match="can't be merged"):
        export_merged(run, tmp_path / "export")
