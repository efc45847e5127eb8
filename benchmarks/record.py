"""Keeps what a run measured, and writes docs/results.md and the README's table from everything that was kept.

python -m benchmarks.record RUN NAME "what it shows" ["what it means"]  adds docs/results/NAME.json
python -m benchmarks.record                                           writes the pages again (`make results`)
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.kept import keep
from benchmarks.results_page import write_pages


def digest(run: Path, title: str, note: str = "") -> dict[str, Any]:
    """What is worth keeping of a finished run: its measures, what it cost, and how to make it again."""
    environment = json.loads((run / "environment.json").read_text())
    timings = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    updates = [t for t in timings if "tokens_per_second" in t]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seconds: dict[str, float] = {}
    for record in timings:
        for phase, value in record["seconds"].items():
            seconds[phase] = seconds.get(phase, 0.0) + value
    return {
        "title": title,
        "note": note,
        "command": " ".join(["gemma-align", *environment["command"][1:]]),
        "config": (run / "config.yml").read_text(),
        "checkpoint": {name: value for name, value in environment["checkpoint"].items() if name != "path"},
        "machine": environment["machine"],
        "packages": environment["packages"],
        "code": environment["code"],
        "data": environment["data"],
        "evaluation": json.loads((run / "evaluation.json").read_text()),
        "course": course(metrics),
        "verdicts": [m["verdict"] for m in metrics if "verdict" in m],
        "cost": {
            "updates": len(updates),
            "training_tokens": sum(m.get("tokens", 0) for m in metrics),
            "median_tokens_per_second": statistics.median(t["tokens_per_second"] for t in updates),
            "training_seconds": {phase: round(value, 1) for phase, value in seconds.items()},
            "training_peak_rss_gb": max(t["peak_rss_gb"] for t in timings),
        },
    }


COURSE = (
    "reward/total",
    "reward/encoder",
    "reward/programmatic",
    "reward/violation",
    "policy/kl",
    "policy/entropy",
    "rollout/tokens",
    "rollout/unfinished",
)
ROWS = 8  # of the course that is kept


def course(metrics: list[dict[str, Any]]) -> list[dict[str, float]]:
    """How a stage that samples went: means over equal parts of its updates; empty where nothing was sampled."""
    rolled = [m for m in metrics if "policy/kl" in m]
    parts = [rolled[i * len(rolled) // ROWS : (i + 1) * len(rolled) // ROWS] for i in range(ROWS)]
    return [
        {"first": part[0]["step"], "last": part[-1]["step"]}
        | {name: statistics.fmean(m[name] for m in part) for name in COURSE if name in part[0]}
        for part in parts
        if part
    ]


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    if arguments:
        run, name, title, *note = arguments
        keep(name, digest(Path(run), title, " ".join(note)))
    write_pages()


if __name__ == "__main__":
    main(sys.argv[1:])
