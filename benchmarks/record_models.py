"""Keeps evaluations of several models on the same examples, and tells them in tables side by side.

python -m benchmarks.record_models NAME "what it shows" LABEL=FOLDER [LABEL=FOLDER ...] [--note "what it means"]

A FOLDER is what `gemma-align evaluate` wrote: of one task, or one folder a task. Evaluations of the same examples with
the same decoding share a table; what the first model of a table is held against the others is paired by example.
docs/results/NAME.json keeps the measures, their differences, what each took, and how to make them again.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import keep
from benchmarks.results_page import write_pages
from gemma_align.evaluation.statistics import paired_interval, ratio_interval
from gemma_align.experiments.evaluated import Evaluated, read_evaluated


def digest(title: str, folders: Mapping[str, Path]) -> dict[str, Any]:
    """What is worth keeping, as JSON values."""
    tables: list[dict[str, Any]] = []
    firsts: list[Evaluated] = []
    for label, root in folders.items():
        alone = (root / "evaluation.json").exists()
        for folder in [root] if alone else sorted(path.parent for path in root.glob("*/evaluation.json")):
            found = read_evaluated(folder, label)
            about = dict(found.main.about)
            at = next((i for i, table in enumerate(tables) if table["about"] == about), None)
            if at is None:
                at = len(tables)
                tables.append({"about": about, "order": [], "models": {}})
                firsts.append(found)
            tables[at]["order"].append(label)
            tables[at]["models"][label] = _model(folder, found, firsts[at])
    return {"kind": "models", "title": title, "tables": tables}


def _model(folder: Path, found: Evaluated, first: Evaluated) -> dict[str, Any]:
    environment = json.loads((folder / "environment.json").read_text())
    timings = [json.loads(line) for line in (folder / "timings.jsonl").read_text().splitlines()]
    return {
        "measures": json.loads((folder / "evaluation.json").read_text())["measures"],
        "difference": {} if found is first else _differences(found, first),
        "seconds": {name: value for line in timings for name, value in line["seconds"].items()},
        "trained_by": environment.get("evaluated", {}).get("config"),
        "command": " ".join(["gemma-align", *environment["command"][1:]]),
        "code": environment["code"],
        "machine": environment["machine"],
        "checkpoint": {key: value for key, value in environment["checkpoint"].items() if key != "path"},
        "data": environment["data"],
    }


def _differences(ours: Evaluated, theirs: Evaluated) -> dict[str, Any]:
    """Ours less theirs, over the examples where both have the measure."""
    a, b = ours.main.result, theirs.main.result
    found: dict[str, Any] = {}
    for name in a.columns:
        if name in b.columns:
            both = np.isfinite(a.columns[name]) & np.isfinite(b.columns[name])
            if both.any():
                found[name] = asdict(paired_interval(a.columns[name][both], b.columns[name][both]))
    scored = np.isfinite(a.nats) & np.isfinite(b.nats) & (a.tokens > 0)
    if scored.any():
        found["response_loss"] = asdict(ratio_interval((a.nats - b.nats)[scored], a.tokens[scored]))
    return found


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("title")
    parser.add_argument("folders", nargs="+", metavar="LABEL=FOLDER")
    parser.add_argument("--note", default="")
    given = parser.parse_args(arguments)
    folders = {label: Path(folder) for label, _, folder in (pair.partition("=") for pair in given.folders)}
    keep(given.name, digest(given.title, folders) | {"note": given.note})
    write_pages()


if __name__ == "__main__":
    main(sys.argv[1:])
