"""What a cell will take, from a short one like it: two updates a stage, and one batch of the examples it is judged on.

minutes = what the short one took
          + of each stage  updates to go x seconds of the second update, evaluations to go x seconds of one
          + seconds of the last evaluation x examples to go / examples measured
"""

import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gemma_align.config import Config
from gemma_align.config.schema import Stage
from gemma_align.errors import UserError
from gemma_align.experiments.cost import TRAINING
from gemma_align.experiments.jsonl import read_lines
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.study.cells import Cell

UPDATES = 2  # the first one also warms up kernels and allocator


@dataclass(frozen=True, slots=True)
class Pilot:
    """minutes of the whole cell, the encoder that it fits included; peak_gb of the short one's process."""

    minutes: float
    peak_gb: float


def pilot(cell: Cell) -> Pilot:
    """Does the short one in a folder that is gone afterwards. UserError if it fails."""
    with TemporaryDirectory() as temporary:
        short = replace(cell, folder=Path(temporary) / "run", overrides=(*cell.overrides, *_shortened(cell.config)))
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "gemma_align", *short.arguments], capture_output=True, text=True)
        took = time.monotonic() - began
        if done.returncode:
            last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-3:])
            raise UserError(f"{cell.name}: a short trial of it failed (status {done.returncode}):\n{last}")
        paths = RunPaths(short.results)
        times, metrics = read_lines(paths.timings), read_lines(paths.metrics)
        num_report = _num_examples(paths, cell.config)
    seconds = took + seconds_to_go(cell.config, times, metrics, num_report, trained=not cell.evaluate)
    return Pilot(seconds / 60, max(float(record["peak_rss_gb"]) for record in times))


def seconds_to_go(
    config: Config, times: list[dict[str, Any]], metrics: list[dict[str, Any]], num_report: int, *, trained: bool
) -> float:
    """What a whole cell does that its short one didn't.

    Args:
        config: the whole cell's.
        times: the short one's log of times.
        metrics: its metrics.
        num_report: examples that the whole cell is judged on.
        trained: False for the evaluation of an untuned model, whose configuration's stages play no part.
    """
    total = 0.0
    names = list(dict.fromkeys(record["stage"] for record in metrics if "tokens" in record))
    for stage, name in zip(config.stages, names, strict=True) if trained else ():
        updates = [record["seconds"] for record in times if record["stage"] == name and "update" in record["seconds"]]
        evaluations = sum(record["seconds"].get("eval", 0.0) for record in times if record["stage"] == name)
        whole = _num_updates(config, stage, [record for record in metrics if record["stage"] == name])
        every = config.for_stage(stage).training.eval_every
        shown = _num_evaluations(stage, len(updates), every)
        total += (whole - len(updates)) * sum(updates[-1].get(phase, 0.0) for phase in TRAINING)
        total += (_num_evaluations(stage, whole, every) - shown) * evaluations / shown
    measured = min(num_report, config.evaluation.num_rows)
    last = sum(value for record in times for phase, value in record["seconds"].items() if ": " in phase)
    return total + last * (num_report / measured - 1)


def _shortened(config: Config) -> list[str]:
    return [
        f"evaluation.num_examples={config.evaluation.num_rows}",
        "checkpoint.reuse_stages=false",
        "tracking.tensorboard=false",
        "tracking.trackers=[]",
        f"training.max_steps={UPDATES}",
        *(f"stages.{i}.training.max_steps={UPDATES}" for i in range(len(config.stages))),
    ]


def _num_updates(config: Config, stage: Stage, metrics: list[dict[str, Any]]) -> int:
    """Of a whole stage; where it goes by epochs, from how far into one the short stage came."""
    settings = config.for_stage(stage).training
    if settings.max_steps is not None:
        return settings.max_steps
    updates = [record for record in metrics if "progress/epoch" in record]
    return math.ceil(settings.num_epochs * len(updates) / updates[-1]["progress/epoch"] - 1e-9)


def _num_evaluations(stage: Stage, updates: int, every: int) -> int:
    """On the tune split: at the end, every so often, and of what samples before the first update too."""
    regular = updates // every + (updates % every > 0) if every else 1
    return regular + (1 if stage.samples and every else 0)


def _num_examples(paths: RunPaths, config: Config) -> int:
    begun = json.loads(paths.environment.read_text(encoding="utf-8"))
    report = begun["data"][-1]["splits"]
    there = next(split["num_examples"] for split in report if split["name"] == config.evaluation.split)
    limit = config.evaluation.num_examples
    return int(there if limit is None else min(there, limit))
