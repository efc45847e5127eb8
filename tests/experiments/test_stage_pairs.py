"""Pairs for a stage that learns from them: those of the data, or each reference against a corruption of itself."""

import json

import pytest

from gemma_align.config import load_config
from gemma_align.data.tasks import load_task
from gemma_align.errors import DataError
from gemma_align.experiments.session import _load
from gemma_align.experiments.stage_pairs import with_pairs
from gemma_align.rewards.clinical import ClinicalReward
from gemma_align.rewards.code import CodeReward
from gemma_align.types import Answer

NEEDS = ("response", "rejected")


def config(tmp_path, *overrides):
    path = tmp_path / "run.yml"
    path.write_text("task: clinical\nstages: [{method: dpo}]\ndata: {num_builtin: 30}\n")
    return load_config(path, overrides)


def test_notes_are_held_against_one_wrong_fact_each(tmp_path):
    settings = config(tmp_path)
    task = _load(settings, NEEDS)
    plain = {e.id: e for e in load_task("clinical", settings.data).examples("train")}
    train = task.examples("train")
    assert len(train) > 20
    rewards = ClinicalReward()
    for example in train:
        assert example.response == plain[example.id].response != example.rejected
    better = rewards.score(train, [Answer(e.response or "") for e in train]).total
    worse = rewards.score(train, [Answer(e.rejected or "") for e in train]).total
    assert (worse < better).float().mean() > 0.9
    assert task.examples("report") == load_task("clinical", settings.data).examples("report")
    again = _load(settings, NEEDS)
    assert again.examples("train") == train
    told = "\n".join(task.lines())
    assert f"train: {len(train)} pairs made of 30 examples, each reference against a corruption of it" in told
    assert f"train: {len(train)} examples (fingerprint" in told


def test_programs_are_held_against_ones_that_fail(tmp_path):
    task = _load(config(tmp_path, "task=code", "data.num_builtin=5"), NEEDS)
    train = task.examples("train")
    with CodeReward(num_workers=1) as reward:
        worse = reward.score(train, [Answer(e.rejected or "") for e in train]).total
    assert len(train) >= 4
    assert worse.max() < 1


def test_pairs_that_are_there_are_used(tmp_path):
    rows = [{"prompt": f"question {i}", "response": "good", "rejected": "bad" if i else None} for i in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = f"data.train={tmp_path}/pairs.jsonl"
    task = _load(config(tmp_path, given, "data.tune=builtin", "data.report=builtin"), ("response",))
    assert any(e.rejected is None for e in task.examples("train"))
    settings = config(tmp_path, given, "task=safety", "data.report=builtin", "data.tune=builtin")
    task = _load(settings, NEEDS)
    assert {e.rejected for e in task.examples("train")} == {"bad"}


def test_safety_without_pairs_says_where_to_get_some(tmp_path):
    rows = [{"prompt": f"question number {i}?", "response": "Noted."} for i in range(20)]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = config(tmp_path, "task=safety", f"data.train={tmp_path}/plain.jsonl", "data.report=builtin")
    with pytest.raises(DataError, match=r"need a rejected response each.*HH-RLHF"):
        _load(settings, NEEDS)
    notes = load_task("clinical", config(tmp_path, f"data.train={tmp_path}/plain.jsonl").data)
    with pytest.raises(DataError, match=r"none could be corrupted.*pairs make"):
        with_pairs(notes, config(tmp_path))
