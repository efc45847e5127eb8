"""Adapters in PEFT's format: what is saved loads in plain PEFT, and what can't be trusted is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from gemma_align.errors import CheckpointError
from gemma_align.models.adapters import load_adapter, save_adapter
from gemma_align.models.checkpoints import CheckpointInfo, LoadedCheckpoint, load_checkpoint

IDS = torch.arange(8, 40)[None]


def tiny() -> LoadedCheckpoint:
    return load_checkpoint("tiny", device="cpu", dtype=torch.float32)


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def random_adapter(**settings: Any) -> tuple[PeftModel, CheckpointInfo]:
    """As after training: B isn't zero any more."""
    base = tiny()
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]} | settings)
    config.task_type = "CAUSAL_LM"
    model = get_peft_model(base.model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.normal_(std=0.3, generator=generator)
    return model, base.info


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    folder = tmp_path_factory.mktemp("trained")
    model, info = random_adapter()
    save_adapter(model, folder, info)
    return folder, logits(model)


@pytest.fixture
def folder(trained: tuple[Path, Tensor], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(trained[0], tmp_path / "adapter"))


def test_plain_peft_loads_it(trained: tuple[Path, Tensor]) -> None:
    folder, expected = trained
    assert torch.equal(logits(PeftModel.from_pretrained(tiny().model, str(folder))), expected)
    assert (expected - logits(tiny().model)).abs().max() > 0.1  # the adapter does something


def test_saving_names_the_checkpoint_and_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def online(*_: object, **__: object) -> None:
        pytest.fail("asked the hub")

    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", online)
    model, info = random_adapter()
    model.peft_config["default"].base_model_name_or_path = "/home/somebody/.cache/gemma"
    model.get_base_model().config._name_or_path = "/home/somebody/.cache/gemma"
    save_adapter(model, tmp_path / "adapter", info)
    assert "somebody" not in "".join(path.read_text(errors="replace") for path in (tmp_path / "adapter").iterdir())
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert json.loads((tmp_path / "adapter" / "base.json").read_text())["fingerprint"] == info.fingerprint
    assert "LoRA adapter for tiny" in (tmp_path / "adapter" / "README.md").read_text()
    assert len({path.stat().st_mode for path in (tmp_path / "adapter").iterdir()}) == 1
    assert model.peft_config["default"].base_model_name_or_path == "/home/somebody/.cache/gemma"


def test_it_comes_back_as_it_was(trained: tuple[Path, Tensor]) -> None:
    folder, expected = trained
    base = tiny()
    model = load_adapter(base.model, folder, base=base.info)
    assert torch.equal(logits(model), expected)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_it_can_be_trained_further(trained: tuple[Path, Tensor]) -> None:
    model = load_adapter(tiny().model, trained[0], trainable=True)
    names = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(names) == 4 * 2 * 2  # layers x modules x (A, B)
    assert all("lora_" in name for name in names)
    assert torch.equal(logits(model), trained[1])


def test_loading_draws_no_random_numbers_of_the_callers(trained: tuple[Path, Tensor]) -> None:
    base = tiny()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_adapter(base.model, trained[0])
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
        {"target_modules": r".*\.(q|o)_proj"},
        {"layers_to_transform": [1, 3]},
        {"init_lora_weights": "gaussian"},
        {"target_modules": ["down_proj", "k_proj"], "r": 1},
    ],
)
def test_every_kind_of_lora_comes_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    model, info = random_adapter(**settings)
    save_adapter(model, tmp_path, info)
    assert torch.equal(logits(load_adapter(tiny().model, tmp_path)), logits(model))


def test_an_adapter_of_plain_peft(tmp_path: Path) -> None:
    model, info = random_adapter()
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert torch.equal(logits(load_adapter(tiny().model, tmp_path, base=info)), logits(model))


def edit(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def edit_tensors(change: Callable[[dict[str, Tensor], str], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        change(tensors, sorted(tensors)[0])
        save_file(tensors, path, metadata={"format": "pt"})

    return spoil


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def truncated(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])


SPOILT = [
    (shutil.rmtree, "does not exist"),
    (pickled, r"adapter_model\.bin is pickled, and reading it can run code"),
    (lambda f: (f / "adapter_model.safetensors").unlink(), r"adapter_model\.safetensors is missing"),
    (lambda f: (f / "adapter_config.json").unlink(), r"adapter_config\.json is missing"),
    (lambda f: (f / "adapter_config.json").write_text("{"), "can't be read as JSON"),
    (lambda f: (f / "adapter_config.json").write_text("[" * 100_000), "can't be read as JSON"),
    (lambda f: (f / "adapter_config.json").write_text("[1]"), "wanted a JSON object, given list"),
    (truncated, r"adapter_model\.safetensors can't be read"),
    (edit(peft_type="IA3"), "wanted peft_type LORA, given 'IA3'"),
    (edit(task_type="SEQ_CLS"), "wanted task_type CAUSAL_LM, given 'SEQ_CLS'"),
    (edit(r=0), "wanted r as a whole number from 1 to 1024"),
    (edit(r=10**9), "wanted r as a whole number"),
    (edit(r=True), "wanted r as a whole number"),
    (edit(r="4"), "wanted r as a whole number"),
    (edit(rank_pattern={"q_proj": 10**9}), "wanted r as a whole number"),
    (edit(rank_pattern=[4]), "wanted rank_pattern as an object"),
    (edit(lora_alpha=None), "wanted lora_alpha as a number"),
    (edit(lora_alpha=float("nan")), "wanted lora_alpha as a number"),
    (edit(target_modules=[]), "wanted target_modules as names"),
    (edit(target_modules=[3]), "wanted target_modules as names"),
    (edit(target_modules="("), "is not a regular expression"),
    (edit(target_modules=["no_proj"]), "doesn't fit the model"),
    (edit(target_modules=["q_proj", "v_proj", "o_proj"]), r"lacks 8 tensors the model takes, such as .*o_proj"),
    (edit(target_modules=["q_proj"]), r"has 8 tensors the model has no place for, such as .*v_proj"),
    (edit(r=8), r"wanted shape \(8, 48\), given \(4, 48\)"),
    (edit(bias="sideways"), "doesn't fit the model: .*sideways"),
    (edit(lora_dropout="much"), "doesn't fit the model"),
    (edit(layers_to_transform=[99]), "doesn't fit the model"),
    (edit(init_lora_weights="pissa"), "init_lora_weights is 'pissa', which changes the base model's weights"),
    (edit(modules_to_save=["lm_head"]), "modules_to_save is used"),
    (edit(layer_replication=[[0, 10**6]]), "layer_replication is used"),
    (edit_tensors(lambda tensors, name: tensors[name].fill_(float("nan"))), "1 tensors hold NaN or infinity"),
    (
        edit_tensors(lambda t, name: t.update({"base_model.model.lm_head.lora_A.weight": t[name].clone()})),
        "adapts .*lm_head",
    ),
    (edit_tensors(lambda tensors, name: tensors.pop(name)), "lacks 1 tensors"),
    (
        edit_tensors(lambda tensors, name: tensors.update({"../../x": torch.zeros(1)})),
        "1 tensors the model has no place",
    ),
    (edit_tensors(lambda tensors, name: tensors.update({name: torch.zeros(4, 7)})), r"wanted shape \(4, 48\)"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_a_bad_adapter_is_refused_and_the_model_stays_as_it_was(
    folder: Path, trained: tuple[Path, Tensor], spoil: Callable[[Path], None], message: str
) -> None:
    base = tiny()
    before = logits(base.model)
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        load_adapter(base.model, folder)
    assert torch.equal(logits(base.model), before)
    assert torch.equal(logits(load_adapter(base.model, trained[0])), trained[1])


def test_settings_that_it_does_not_know_are_left_alone(folder: Path, trained: tuple[Path, Tensor]) -> None:
    edit(from_a_later_version={"x": 1}, base_model_name_or_path="../../etc/passwd")(folder)
    assert torch.equal(logits(load_adapter(tiny().model, folder)), trained[1])


def test_an_adapter_of_another_base(folder: Path) -> None:
    (folder / "base.json").write_text(json.dumps({"spec": "google/gemma-3-270m-it", "fingerprint": "f" * 64}))
    base = tiny()
    with pytest.raises(CheckpointError, match=r"trained on 'google/gemma-3-270m-it' .*and the model is 'tiny'"):
        load_adapter(base.model, folder, base=base.info)


@pytest.mark.parametrize(
    ("name", "spec", "fits"),
    [
        ("google/gemma-3-270m", "google/gemma-3-270m", True),
        ("google/gemma-3-270m", "bundled:gemma-3-270m", True),
        ("somebody/Gemma-3-270m", "bundled:gemma-3-270m", True),
        ("/home/somebody/gemma", "google/gemma-3-270m", True),
        ("google/gemma-3-270m-it", "google/gemma-3-270m", False),
        ("google/gemma-3-270m-it", "bundled:gemma-3-270m", False),
        ("google/gemma-3-270m-it", "tiny", True),
    ],
)
def test_an_adapter_of_plain_peft_by_its_bases_name(folder: Path, name: str, spec: str, fits: bool) -> None:
    (folder / "base.json").unlink()
    edit(base_model_name_or_path=name)(folder)
    source = "bundled" if spec.startswith("bundled:") else "tiny" if spec == "tiny" else "hub"
    base = CheckpointInfo(spec, source, None, "0" * 64)
    if fits:
        load_adapter(tiny().model, folder, base=base)
    else:
        with pytest.raises(CheckpointError, match=f"trained on '{name}', and the model is '{spec}'"):
            load_adapter(tiny().model, folder, base=base)
