"""Study files, the grid that comes of them, candidates, archives, and the pool of processes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from tests.experiments.study.records import record

from gemma_align.config import resolved_yaml
from gemma_align.config.study import load_study
from gemma_align.errors import ConfigError, UserError
from gemma_align.experiments.study.cells import cells_of, done
from gemma_align.experiments.study.record import read_archive, write_archive
from gemma_align.experiments.study.run import Plan, _Pool, plan_study

ROOT = Path(__file__).resolve().parents[3]
RUN = """
task: clinical
stages: [{method: sft}]
model: {checkpoint: tiny, max_length: 400}
evaluation: {num_examples: 4}
"""
STUDY = """
title: which?
seeds: [3, 5]
settings: {data.num_builtin: 8}
tasks: {clinical: {training.batch_size: 2}}
measures: {clinical: [rougeL]}
methods:
  base: {config: run.yml, evaluate: true}
  sft: {config: run.yml}
  tuned: {config: run.yml, tune: [{training.learning_rate: 1e-3}, {training.learning_rate: 1e-2}]}
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "run.yml").write_text(RUN)
    path = tmp_path / "study.yml"
    path.write_text(STUDY)
    return path


def cells(file, out=Path("out"), kept=None):
    return cells_of(load_study(file), file, out, kept or {})


def test_every_method_has_every_seed_and_what_is_not_trained_has_one(file):
    named = [(c.method, c.seed, c.candidate) for c in cells(file)]
    assert named == [("tuned", 3, 0), ("tuned", 3, 1), ("base", 3, None), ("sft", 3, None), ("sft", 5, None)]
    assert len({c.folder for c in cells(file)}) == 5
    sft = cells(file)[3]
    assert (sft.config.seed, sft.config.data.num_builtin, sft.config.training.batch_size) == (3, 8, 2)
    assert sft.arguments[:4] == ["run", "--resume", "--config", str(file.parent / "run.yml")]
    assert sft.arguments[-1] == f"output_dir={sft.folder}"
    base = cells(file)[2]
    assert base.arguments[0] == "evaluate"
    assert base.results == base.folder / "clinical"


def test_a_folder_is_found_again_until_its_own_settings_change(file):
    before = {(c.method, c.seed, c.candidate): c.folder for c in cells(file)}
    file.write_text(STUDY.replace("seeds: [3, 5]", "seeds: [3, 5, 7]").replace("which?", "what?"))
    after = {(c.method, c.seed, c.candidate): c.folder for c in cells(file)}
    assert before.items() <= after.items()
    (file.parent / "run.yml").write_text(RUN + "checkpoint: {every: 5}\ntracking: {tensorboard: false}\n")
    assert {(c.method, c.seed, c.candidate): c.folder for c in cells(file)} == after
    (file.parent / "run.yml").write_text(RUN + "training: {max_tokens_per_microbatch: 77}\n")  # rounding alone
    assert {(c.method, c.seed, c.candidate): c.folder for c in cells(file)} == after
    (file.parent / "run.yml").write_text(RUN + "training: {weight_decay: 0.1}\n")
    changed = {(c.method, c.seed, c.candidate): c.folder for c in cells(file)}
    assert changed["base", 3, None] == after["base", 3, None]  # which doesn't look at it
    assert changed["sft", 3, None] != after["sft", 3, None]


def test_what_a_cell_failed_with_is_told_in_short(file, tmp_path):
    cell = cells(file, tmp_path)[0]
    assert cell.failure == ""
    cell.folder.mkdir(parents=True)
    (cell.folder / "status.json").write_text(json.dumps({"state": "failed", "message": "OSError:\n" + "no room " * 50}))
    assert cell.failure.startswith("OSError: no room no room")
    assert len(cell.failure) <= 200
    (cell.folder / "status.json").write_text(json.dumps({"state": "interrupted", "message": "a signal"}))
    assert cell.failure == ""


def test_a_cell_that_is_to_be_evaluated_otherwise_keeps_its_folder_and_is_not_done(file, tmp_path):
    def sft():
        return next(c for c in cells(file, tmp_path) if (c.method, c.seed) == ("sft", 3))

    before, base = sft(), next(c for c in cells(file, tmp_path) if c.method == "base")
    finish(before, 1.0)
    kept = {before.folder.name: {"config": resolved_yaml(before.config)}}
    assert before.finished
    assert done(before, kept)
    (file.parent / "run.yml").write_text(RUN.replace("num_examples: 4", "num_examples: 5"))
    assert sft().folder == before.folder
    assert not sft().finished
    assert not done(sft(), kept)
    assert next(c for c in cells(file, tmp_path) if c.method == "base").folder != base.folder


def finish(cell, loss):
    """A run folder as far as a study looks at it."""
    cell.folder.mkdir(parents=True)
    (cell.folder / "status.json").write_text('{"state": "finished"}')
    (cell.folder / "config.yml").write_text(resolved_yaml(cell.config))
    (cell.folder / "evaluation.json").write_text("{}")
    (cell.folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": i, "eval/loss": value}) + "\n" for i, value in enumerate([0.0, loss]))
    )


@pytest.mark.parametrize(("losses", "best"), [((1.0, 2.0), 1e-3), ((2.0, 1.0), 1e-2)])
def test_all_seeds_take_the_candidate_that_is_best_on_the_tune_split(file, tmp_path, losses, best):
    candidates = cells(file, tmp_path)[:2]
    assert all(c.config.evaluation.split == "tune" for c in candidates)
    finish(candidates[0], losses[0])
    assert [c.method for c in cells(file, tmp_path)].count("tuned") == 2  # one is missing: nothing is chosen
    finish(candidates[1], losses[1])
    chosen = [c for c in cells(file, tmp_path) if c.method == "tuned" and c.candidate is None]
    assert [(c.seed, c.config.training.learning_rate, c.config.evaluation.split) for c in chosen] == [
        (3, best, "report"),
        (5, best, "report"),
    ]


def test_a_measure_that_no_candidate_logged_is_named(file, tmp_path):
    file.write_text(STUDY + "tune_by: rougeL\n")
    for cell in cells(file, tmp_path)[:2]:
        finish(cell, 1.0)
    with pytest.raises(UserError, match=r"tune_by: rougeL: .* it logged loss\. checkpoint\.measure"):
        cells(file, tmp_path)


def test_kept_cells_are_done_until_a_setting_that_both_know_differs(file, tmp_path):
    cell = cells(file)[3]
    config = resolved_yaml(cell.config)
    write_archive(tmp_path / "a.json.gz", {cell.folder.name: record("sft") | {"config": config}})
    archive = read_archive(tmp_path / "a.json.gz")
    assert done(cell, archive)
    assert not done(cells(file)[4], archive)
    older = config.replace("  weight_decay: 0.0\n", "")  # a version that didn't know it
    assert older != config
    assert done(cell, {cell.folder.name: {"config": older}})
    other = config.replace("weight_decay: 0.0\n", "weight_decay: 0.5\n", 1)  # or had another default
    assert not done(cell, {cell.folder.name: {"config": other}})


def test_an_archive_is_the_same_bytes_for_the_same_records_and_no_other_file(tmp_path):
    write_archive(tmp_path / "a.gz", {"x": record("sft"), "y": record("dpo")})
    write_archive(tmp_path / "b.gz", {"y": record("dpo"), "x": record("sft")})
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert read_archive(tmp_path / "none.gz") == {}
    for content in (b"text", (tmp_path / "a.gz").read_bytes()[:50]):
        (tmp_path / "bad.gz").write_bytes(content)
        with pytest.raises(UserError, match="wanted an archive"):
            read_archive(tmp_path / "bad.gz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("title: which?", "titel: which?"), "titel"),
        (("seeds: [3, 5]", "seeds: [3, 3]"), "wanted different ones"),
        (("[rougeL]", "[]"), "measures"),
        (("measures: {clinical: [rougeL]}", "measures: {}"), "there are none of clinical"),
        (("sft: {config: run.yml}", "sft: {config: run.yml, start: nobody}"), "the start of sft speaks of 'nobody'"),
        (("tasks: {clinical:", "tasks: {cooking:"), "cooking"),
    ],
)
def test_mistakes_in_a_study_are_named(file, change, message):
    file.write_text(STUDY.replace(*change))
    with pytest.raises(ConfigError, match=message):
        load_study(file)


def test_a_cell_whose_configuration_is_wrong_is_named_before_anything_is_done(file):
    file.write_text(STUDY.replace("sft: {config: run.yml}", "sft: {config: run.yml, settings: {training.batch: 1}}"))
    with pytest.raises(ConfigError, match=r"(?s)clinical, sft, seed 3: .*batch"):
        Plan(file, None)


def test_only_known_methods_can_be_asked_for(file):
    assert {c.method for c in Plan(file, None, ["sft"]).cells()} == {"sft"}
    with pytest.raises(UserError, match="--only dpo: wanted one of the study's methods: base, sft, tuned"):
        Plan(file, None, ["dpo"])


@pytest.mark.slow
@pytest.mark.ci
def test_a_dry_run_tells_what_is_left(file, tmp_path, capsys):
    finish(cells(file, tmp_path)[3], 1.0)
    plan_study(file, out=tmp_path)
    said = capsys.readouterr().out
    assert re.search(r"clinical, sft, seed 3 +done", said)
    assert re.search(r"clinical, sft, seed 5 +to do +about 0.0", said)
    assert re.search(r"clinical, base, untuned +to do +not known yet", said)
    for method in ("base", "sft", "tuned", "tuned"):
        assert re.search(rf"memory of clinical, {method}: about 0\.[5-7] GB", said)
    assert "more cells come once the candidates of tuned are done" in said
    assert said.count("gemma-align run --resume") == 3


def test_a_dry_run_knows_what_kept_cells_took(file, tmp_path, capsys):
    file.write_text(STUDY + "archive: kept.json.gz\n")
    cell = next(c for c in cells(file) if c.method == "sft")
    kept = record("sft") | {"config": resolved_yaml(cell.config)}
    kept["cost"] |= {"phases": {"update": 90.0, "evaluate": 30.0}, "peak_gb": 1.25}
    write_archive(tmp_path / "kept.json.gz", {cell.folder.name: kept})
    plan_study(file, out=tmp_path, only=["sft"])
    said = capsys.readouterr().out
    assert re.search(r"clinical, sft, seed 3 +kept +2.0 +1.2", said)
    assert re.search(r"clinical, sft, seed 5 +to do +about 2.0", said)
    assert "left: about 2 minutes" in said


def test_a_cell_that_fails_is_told_and_the_others_go_on(file, tmp_path, capsys):
    (tmp_path / "run.yml").write_text(RUN + "data: {train: nowhere.jsonl}\n")
    two = [c for c in cells(file, tmp_path) if c.method == "sft"]
    failed = _Pool(2, Console()).run(two)
    assert set(failed) == {c.folder for c in two}
    assert all("nowhere.jsonl" in words for words in failed.values())
    assert capsys.readouterr().out.count("failed (status 2)") == 2


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "studies").glob("*.yml")), ids=lambda p: p.name)
def test_every_shipped_study_is_valid(path):
    plan = Plan(path, None)
    assert plan.cells()
    assert set(plan.study.measures) == set(plan.study.tasks)


def test_what_is_kept_of_the_shipped_study_belongs_to_cells_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMMA_ALIGN_DATA", str(tmp_path))  # read when a cell is done, not when it is named
    plan = Plan(ROOT / "configs" / "studies" / "clinical.yml", tmp_path)
    trained = {name for name in plan.kept if "untuned" not in name}
    assert trained
    assert trained <= {cell.folder.name for cell in plan.cells() if plan.kept_as_is(cell)}


def is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("to_all", [False, True], ids=["the study alone", "its whole group, as a terminal would"])
def test_a_study_that_is_stopped_stops_its_cells(file, tmp_path, to_all):
    """SIGTERM while a cell trains: the cell saves its update, nobody is left, and the same command would go on."""
    (tmp_path / "run.yml").write_text(RUN + "training: {num_epochs: 30}\ndata: {max_tune_examples: 2}\n")
    asked = [sys.executable, "-m", "gemma_align", "study", "run", str(file), "--only", "sft", "--out", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        asked, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    folder = next(c.folder for c in cells(file, tmp_path) if (c.method, c.seed) == ("sft", 3))
    deadline = time.monotonic() + 200
    while not ((folder / "metrics.jsonl").exists() and '"step": 2' in (folder / "metrics.jsonl").read_text()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 143, said
    assert "Give the same command to go on" in said
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert any((folder / "checkpoints").iterdir())
    deadline = time.monotonic() + 20
    while is_there(process.pid):  # anybody of its group, also the process that cells are forked from
        assert time.monotonic() < deadline
        time.sleep(0.05)
