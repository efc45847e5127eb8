"""An encoder's folder: what is refused, with words that say what to do."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tests.rewards.encoders import SMALL, tiny_policy

from gemma_align.config import ModelConfig
from gemma_align.errors import CheckpointError
from gemma_align.models.policy import Policy
from gemma_align.rewards.encoder import files
from gemma_align.rewards.encoder.build import build_encoder
from gemma_align.rewards.encoder.files import RECORD, WEIGHTS, load_encoder, save_encoder


@pytest.fixture(scope="module")
def policy():
    return tiny_policy()


@pytest.fixture
def folder(policy, tmp_path):
    save_encoder(build_encoder(SMALL, policy), SMALL, tmp_path, {"task": "safety"})
    return tmp_path


def changed(folder, **values):
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps(record | values))
    return folder


def retensored(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    return folder


def refused(folder, policy, words):
    with pytest.raises(CheckpointError, match=words):
        load_encoder(folder, policy)


def test_the_record_says_what_it_is(folder):
    record = json.loads((folder / RECORD).read_text())
    assert record["encoder"]["width"] == SMALL.width
    assert "path" not in record["encoder"]
    assert record["task"] == "safety"
    assert record["standardisation"]["slope"] == 1.0


def test_no_folder_and_no_encoder(policy, tmp_path):
    refused(tmp_path / "nowhere", policy, "reward fit")
    (tmp_path / RECORD).write_text("{not json")
    refused(tmp_path, policy, "can't be read")
    (tmp_path / RECORD).write_text("[]")
    refused(tmp_path, policy, "format")


def test_another_format_other_settings_other_weights(folder, policy):
    refused(changed(folder, format="gemma-align encoder 9"), policy, "encoder 9")
    changed(folder, format="gemma-align encoder 2")
    refused(changed(folder, stands_on="0" * 64), policy, "model.checkpoint")
    record = json.loads((folder / RECORD).read_text())["encoder"]
    refused(changed(folder, encoder=record | {"width": 33}), policy, "settings")
    refused(changed(folder, encoder=record | {"backbone": "bert"}), policy, "settings")


def test_an_encoder_of_another_base_model(folder):
    other = tiny_policy()
    other.info = replace(other.info, fingerprint="1" * 64)
    refused(folder, other, "fitted on weights")


def test_an_encoder_that_reads_other_prompts(folder):
    chat = Policy.load(ModelConfig(checkpoint="tiny-it", device="cpu"))  # the same weights, with a chat template
    refused(folder, chat, "prompt_format=plain")


def test_without_the_policy(folder):
    refused(folder, None, "policy")


def test_damaged_weights(folder, policy):
    good = (folder / WEIGHTS).read_bytes()
    retensored(folder, lambda t: t.pop("bias"))
    refused(folder, policy, "missing or too many: bias")
    (folder / WEIGHTS).write_bytes(good)
    retensored(folder, lambda t: t.update(bias=torch.zeros(7)))
    refused(folder, policy, "bias: wanted")
    (folder / WEIGHTS).write_bytes(good)
    retensored(folder, lambda t: t["bias"].fill_(float("inf")))
    refused(folder, policy, "finite")
    (folder / WEIGHTS).write_bytes(good)
    retensored(folder, lambda t: t["score_std"].zero_())
    refused(folder, policy, "above 0")
    (folder / WEIGHTS).write_bytes(good[:1000])
    refused(folder, policy, "can't be read")


def test_a_pickle_is_not_opened(folder, policy, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    (folder / WEIGHTS).write_bytes(pickle.dumps(Trap()))
    refused(folder, policy, "can't be read")
    assert not (tmp_path / "sprung").exists()


def test_a_disk_that_is_full_is_an_error_of_the_system(policy, tmp_path, monkeypatch):
    def full(*_args, **_settings):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        save_encoder(build_encoder(SMALL, policy), SMALL, tmp_path, {"task": "safety"})
