"""What is kept of a finished cell: every example's measures, the responses, the course of training, what it cost.

A record is plain JSON values and holds nothing of the data but the examples' ids, so it may be kept in a repository
where the data may not. An archive is many of them in one compressed file, by the cell's name.
"""

import gzip
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gemma_align.errors import UserError
from gemma_align.evaluation.comparison import Result
from gemma_align.experiments.cost import cost_of
from gemma_align.experiments.evaluated import Model, read_evaluated
from gemma_align.experiments.files import json_text
from gemma_align.experiments.jsonl import read_lines
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.study.cells import Cell

FORMAT = 1
DIGITS = 6  # significant ones of a number that is kept
COURSE = ("loss/", "reward/", "policy/", "rollout/", "value/", "eval/", "optimizer/grad_norm")  # beginnings of names
_ABOUT_ENVIRONMENT = ("packages", "machine", "cores", "code", "device", "precision", "prompt_format", "data")

Record = Mapping[str, Any]


def record_of(cell: Cell) -> dict[str, Any]:
    """Of a finished cell.

    Raises:
        RunDirError: its folder lacks something.
    """
    paths = RunPaths(cell.results)
    found = read_evaluated(cell.results, cell.method)
    environment = json.loads(paths.environment.read_text(encoding="utf-8"))
    responses = _responses(paths)
    models = {model.name: _model(model, responses) for model in (found.main, *found.others.values())}
    metrics = [] if cell.evaluate else read_lines(paths.metrics)
    return _rounded(
        {
            "format": FORMAT,
            "task": cell.task,
            "method": cell.method,
            "seed": cell.seed,
            "evaluate": cell.evaluate,
            "stages": [] if cell.evaluate else [stage.method for stage in cell.config.stages],
            "command": shlex.join(["gemma-align", *cell.arguments]),
            "config": (RunPaths(cell.folder).config if not cell.evaluate else paths.config).read_text("utf-8"),
            "main": found.main.name,
            "models": models,
            "course": [_kept(line) for line in metrics if "verdict" not in line],
            "verdicts": [{"step": line["step"], **line["verdict"]} for line in metrics if "verdict" in line],
            "cost": asdict(cost_of(paths)),
            "environment": {name: environment[name] for name in _ABOUT_ENVIRONMENT if name in environment},
            "weights": environment.get("checkpoint", {}).get("fingerprint"),
        }
    )


def result_of(record: Record, model: str, label: str, measures: Sequence[str] | None = None) -> Result:
    """One model's values as a comparison takes them, of some of the measures or of all."""
    found = record["models"][model]
    columns = {name: _array(values) for name, values in found["columns"].items()}
    wanted = [name for name in columns if measures is None or name in measures]
    nats = _array(found["nats"])
    if measures is not None and "response_loss" not in measures:
        nats = np.full_like(nats, np.nan)
    return Result(
        label, {name: columns[name] for name in wanted}, _array(found["lengths"]), nats, _array(found["tokens"])
    )


def read_archive(path: Path) -> dict[str, Any]:
    """{cell's name: record}; empty where there is no file. UserError where it is no archive."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: wanted an archive of study cells, but it can't be read: {error}") from error
    records = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(record, dict) and record.get("format") == FORMAT for record in records):
        raise UserError(f"{path}: wanted an archive of study cells of format {FORMAT}")
    return dict(found)


def write_archive(path: Path, records: Mapping[str, Record]) -> None:
    """Replaces the file. The same records give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_bytes(gzip.compress(json_text(dict(records)).encode(), 9, mtime=0))
    temporary.replace(path)


def _model(model: Model, responses: Mapping[tuple[str, str], tuple[str, bool]]) -> dict[str, Any]:
    result = model.result
    said = [responses.get((model.name, example), ("", False)) for example in model.ids]
    return {
        "about": dict(model.about),
        "ids": list(model.ids),
        "columns": {name: column.tolist() for name, column in result.columns.items()},
        "lengths": result.lengths.tolist(),
        "nats": result.nats.tolist(),
        "tokens": result.tokens.tolist(),
        "responses": [text for text, _ in said],
    }


def _responses(paths: RunPaths) -> dict[tuple[str, str], tuple[str, bool]]:
    return {
        (line["model"], str(line["id"])): (line["response"], bool(line["finished"]))
        for line in read_lines(paths.samples)
        if "response" in line and "model" in line
    }


def _kept(line: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in line.items() if k in ("step", "stage", "tokens") or k.startswith(COURSE)}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def _array(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
