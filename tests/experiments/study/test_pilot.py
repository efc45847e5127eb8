"""What a cell will take, from a short one."""

from pathlib import Path

import pytest

from gemma_align.config import load_config
from gemma_align.errors import UserError
from gemma_align.experiments.study.cells import Cell
from gemma_align.experiments.study.pilot import Pilot, pilot, seconds_to_go
from gemma_align.experiments.study.run import plan_study

RUN = """
task: clinical
stages: [{method: sft}, {method: grpo, training: {max_steps: 11, eval_every: 5}}]
model: {checkpoint: tiny, max_length: 640}
data: {num_builtin: 8, max_tune_examples: 2}
training: {num_epochs: 3, eval_every: 4}
rl: {max_response_tokens: 8}
reward: {alpha: 0, programmatic: 1}
evaluation: {num_examples: 6, num_rows: 2, max_new_tokens: 8, base: false}
"""


@pytest.fixture
def cell(tmp_path):
    source = tmp_path / "run.yml"
    source.write_text(RUN)
    return Cell("clinical", "staged", 0, None, False, load_config(source), source, (), tmp_path / "cell")


def times(stage, seconds):
    return {"stage": stage, "step": 1, "seconds": seconds, "peak_rss_gb": 1.0}


def test_what_is_to_go_is_counted_out(cell):
    update = {"prepare": 1.0, "update": 2.0, "optimizer": 0.5}
    logged = [
        times("sft", {**update, "update": 50.0}),  # the first, which doesn't count
        times("sft", update),
        times("sft", {"eval": 10.0, "total": 11.0}),
        times("grpo", {**update, "eval": 6.0}),  # before its first update
        times("grpo", {**update, "update": 20.0}),
        times("grpo", {"eval": 8.0}),
        times("evaluation", {"tuned: generate": 4.0, "tuned: measure": 1.0, "total": 6.0}),
    ]
    metrics = [
        {"stage": "sft", "tokens": 1, "progress/epoch": 0.25},
        {"stage": "sft", "tokens": 1, "progress/epoch": 0.5},
        {"stage": "sft", "eval/loss": 1.0},
        {"stage": "grpo", "tokens": 1, "progress/epoch": 0.1},
        {"stage": "grpo", "tokens": 1, "progress/epoch": 0.2},
    ]
    sft = (12 - 2) * 3.5 + (3 - 1) * 10.0  # three epochs of four updates, evaluated at 4, 8 and 12
    grpo = (11 - 2) * 21.5 + (4 - 2) * 7.0  # evaluated at 0, 5, 10 and 11; the short one at 0 and 2
    assert seconds_to_go(cell.config, logged, metrics, 6, trained=True) == pytest.approx(sft + grpo + 5.0 * (6 / 2 - 1))
    untrained = [times("evaluate", {"base": 5.0, "base: generate": 3.0, "total": 9.0})]
    assert seconds_to_go(cell.config, untrained, [], 6, trained=False) == pytest.approx(3.0 * 2)


@pytest.mark.slow
@pytest.mark.ci
def test_a_pilot_runs_and_leaves_nothing(cell, tmp_path):
    before = set(tmp_path.iterdir())
    found = pilot(cell)
    assert 0.05 < found.minutes < 10
    assert 0.1 < found.peak_gb < 3
    assert set(tmp_path.iterdir()) == before


def test_a_pilot_that_fails_says_why(cell):
    broken = Cell("clinical", "x", 0, None, False, cell.config, cell.source, ("data.train=nowhere.jsonl",), cell.folder)
    with pytest.raises(UserError, match=r"a short trial of it failed \(status 2\):(.|\n)*nowhere.jsonl"):
        pilot(broken)


def test_a_plan_with_pilots_knows_every_time(tmp_path, monkeypatch, capsys):
    (tmp_path / "run.yml").write_text(RUN)
    file = tmp_path / "study.yml"
    file.write_text(
        "title: t\nseeds: [0, 1]\ntasks: {clinical: {}}\nmeasures: {clinical: [rougeL]}\n"
        "methods: {base: {config: run.yml, evaluate: true}, staged: {config: run.yml}}\n"
    )
    tried = []

    def made_up(cell):
        tried.append(cell.name)
        return Pilot(minutes=7.0, peak_gb=2.6)

    monkeypatch.setattr("gemma_align.experiments.study.run.pilot", made_up)
    monkeypatch.setattr("gemma_align.experiments.study.run._memory", lambda cell: "not known")
    plan_study(file, out=Path(tmp_path / "out"), pilots=True)
    said = capsys.readouterr().out
    assert tried == ["clinical, base, untuned", "clinical, staged, seed 0"]
    assert "left: about 21 minutes" in said
    assert said.count("about 7.0  about 2.6") == 3
    assert "not known yet" not in said
    plan_study(file, out=Path(tmp_path / "out"))
    assert "--pilots tries them" in capsys.readouterr().out
