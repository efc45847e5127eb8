"""A cell's process: it has its caller's folder and environment, whatever it was forked from."""

import os
import sys
import time

import pytest

from gemma_align.experiments.study.worker import Worker

RUN = "task: clinical\nstages: [{method: sft}]\nmodel: {checkpoint: tiny}\n"
CORES = sorted(os.sched_getaffinity(0))[:1] if hasattr(os, "sched_getaffinity") else [0]


def ended(worker, seconds=120):
    deadline = time.monotonic() + seconds
    while worker.status is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return worker.status


@pytest.mark.parametrize("name", ["one", "two"])
def test_folder_and_environment_are_the_callers(tmp_path, monkeypatch, name):
    """The second one is forked from a process that began in another folder with another environment."""
    (tmp_path / "run.yml").write_text(RUN + "data: {train: $WHERE}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHERE", f"nowhere_{name}.jsonl")
    worker = Worker(["run", "--config", "run.yml"], CORES, tmp_path / "log")
    assert ended(worker) == 2
    assert f"nowhere_{name}.jsonl" in (tmp_path / "log").read_text()


def test_what_it_says_is_added_to_the_log(tmp_path):
    (tmp_path / "log").write_text("before\n")
    assert ended(Worker(["run", "--help"], CORES, tmp_path / "log")) == 0
    said = (tmp_path / "log").read_text()
    assert said.startswith("before\n")
    assert "--resume" in said


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_one_that_is_killed_tells_it(tmp_path):
    (tmp_path / "run.yml").write_text(RUN + "training: {num_epochs: 1000}\n")
    worker = Worker(["run", "--config", str(tmp_path / "run.yml")], CORES, tmp_path / "log")
    assert worker.status is None
    worker.end(timeout=0)
    assert worker.status == -9
