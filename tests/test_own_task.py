"""docs/own_task.md as a reader would follow it, on a tiny model."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "own_task.md"
SMALL = [
    "model.checkpoint=tiny",
    "stages.0.training.max_steps=2",
    "stages.1.training.max_steps=2",
    "training.eval_every=0",
    "stages.1.training.eval_every=0",
    "evaluation.num_examples=2",
]

TERM = "reward/term/tickets:names_product"


@pytest.mark.slow
@pytest.mark.ci
def test_the_guide_runs_as_it_stands(tmp_path):
    blocks = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", PAGE.read_text(), flags=re.S))
    assert set(blocks) == {"tickets.py", "tickets.yml"}
    assert sum(line.strip() != "" for text in blocks.values() for line in text.splitlines()) <= 30
    for name, text in blocks.items():
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), flags=re.S)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    for line in commands.strip().splitlines():
        words, _, target = line.partition("  #")[0].partition(" > ")
        program, *arguments = words.split()
        if program == "gemma-align":  # as its script: the current folder isn't on the path
            script = "import sys; sys.path.remove(''); from gemma_align.cli import main; main()"
            call = [sys.executable, "-c", script, *arguments, *(SMALL if arguments[0] == "run" else SMALL[:1])]
        else:
            call = [sys.executable, *arguments]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        if target:
            (tmp_path / target).write_text(done.stdout)
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert len(scores) == 200
    assert {score["parts"]["term/tickets:names_product"] for score in scores} == {1.0}
    (run,) = (tmp_path / "runs").glob("tickets*/")
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rewards = [m[TERM] for m in metrics if TERM in m]
    assert len(rewards) == 2
    assert all(0 <= value <= 1 for value in rewards)
    assert "rougeL" in json.loads((run / "evaluation.json").read_text())["measures"]
