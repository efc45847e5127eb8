"""The grid of a study: one cell is one command in a folder of its own.

A folder is called by what is in it and by a fingerprint of everything that decides its training, so a cell that is done
is found again whatever else of the study has changed, and is done anew where its own settings have. One that is only to
be evaluated otherwise is not trained again.
"""

import json
import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from gemma_align.config import Config, load_config, resolved_yaml
from gemma_align.config.source import write_yaml
from gemma_align.config.study import MethodSpec, Study, as_overrides
from gemma_align.errors import ConfigError, UserError
from gemma_align.evaluation.directions import least_is_best
from gemma_align.experiments.config_diff import FREE, MEASURING, flat_settings
from gemma_align.experiments.jsonl import read_lines
from gemma_align.experiments.run_paths import RunPaths

# How a batch is split for the memory at hand changes the rounding of a cell's numbers and nothing else
SPLIT = "training.max_tokens_per_microbatch"


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one task with one seed.

    candidate  number among the method's `tune` settings; None: a cell of the study's own table
    config     checked
    source     the configuration's file
    overrides  over it, without the folder
    folder     of the run; of an evaluation, the folder that holds one folder a task
    """

    task: str
    method: str
    seed: int
    candidate: int | None
    evaluate: bool
    config: Config
    source: Path
    overrides: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """For people."""
        what = "untuned" if self.evaluate else f"seed {self.seed}"
        return f"{self.task}, {self.method}, {what}" + (
            "" if self.candidate is None else f", candidate {self.candidate + 1}"
        )

    @property
    def results(self) -> Path:
        """The folder with evaluation.json."""
        return self.folder / self.task if self.evaluate else self.folder

    @property
    def finished(self) -> bool:
        """Everything is there, evaluated as is asked for now."""
        paths = RunPaths(self.results)
        if paths.read_status().get("state") != "finished" or not paths.evaluation.exists():
            return False
        if self.evaluate:  # whose folder is called by these settings too
            return True
        try:
            return same_settings(self, paths.config.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False  # the run itself says what is wrong

    @property
    def failure(self) -> str:
        """The beginning of what it failed with when it was tried last; empty where it didn't, or left no folder."""
        status = RunPaths(self.results).read_status()
        message = str(status.get("message", "")) if status.get("state") == "failed" else ""
        return textwrap.shorten(message, width=200, placeholder=" …")

    @property
    def arguments(self) -> list[str]:
        """Of `gemma-align`."""
        config = ["--config", str(self.source)]
        if self.evaluate:
            return ["evaluate", *config, "--task", self.task, "--out", str(self.folder), *self.overrides]
        return ["run", "--resume", *config, *self.overrides, f"output_dir={self.folder}"]


Kept = Mapping[str, Mapping[str, Any]]
"""Records of cells that were done elsewhere or earlier, by the names of their folders (`record.py`)."""


def cells_of(study: Study, file: Path, out: Path, kept: Kept) -> list[Cell]:
    """All cells, seed by seed, so that a study that is stopped early has whole comparisons.

    Candidates come first; cells of a method whose candidates aren't all done are left out, since their settings aren't
    known yet.

    Args:
        study: what `load_study` gave.
        file: where it stands.
        out: the study's folder.
        kept: cells that need not be done again.

    Raises:
        ConfigError: the configuration of a cell isn't valid; names the cell.
    """
    found = _candidates(study, file, out)
    chosen = {key: best_candidate(study, cells, kept) for key, cells in _by_method(found).items()}
    for seed in dict.fromkeys(s for spec in study.methods.values() for s in _seeds(study, spec)):
        for task in study.tasks:
            for method, spec in study.methods.items():
                if seed not in _seeds(study, spec) or task not in (spec.tasks or study.tasks):
                    continue
                best = chosen.get((task, method)) if spec.tune else -1
                if best is not None:
                    more = spec.tune[best] if best >= 0 else {}
                    found.append(_cell(study, file, out, task, method, seed, more, None))
    return found


def done(cell: Cell, kept: Kept) -> bool:
    """Whether it is finished here, or is kept with the same settings."""
    return cell.finished or in_archive(cell, kept)


def in_archive(cell: Cell, kept: Kept) -> bool:
    """Whether a record of it is kept, made with the same settings as far as both versions know them."""
    return cell.folder.name in kept and same_settings(cell, str(kept[cell.folder.name]["config"]))


def best_candidate(study: Study, cells: list[Cell], kept: Kept) -> int | None:
    """Which of a method's candidates is best on the tune split; None where one isn't done."""
    if not all(done(cell, kept) for cell in cells):
        return None
    scores = [_tune_score(cell, study.tune_by, kept) for cell in cells]
    least = least_is_best(study.tune_by)
    best = min(range(len(scores)), key=lambda i: scores[i] if least else -scores[i])
    return cells[best].candidate


def _tune_score(cell: Cell, measure: str, kept: Kept) -> float:
    """The last value of a measure of the tune split."""
    key = f"eval/{measure}"
    course = read_lines(RunPaths(cell.folder).metrics) if cell.finished else kept[cell.folder.name]["course"]
    values = [record[key] for record in course if key in record]
    if not values:
        known = sorted({name for record in course for name in record if name.startswith("eval/")})
        raise UserError(
            f"tune_by: {measure}: {cell.name} logged no such measure of the tune split; it logged "
            f"{', '.join(name.removeprefix('eval/') for name in known)}. checkpoint.measure adds the task's own"
        )
    return float(values[-1])


def _candidates(study: Study, file: Path, out: Path) -> list[Cell]:
    found = []
    for task in study.tasks:
        for method, spec in study.methods.items():
            if task in (spec.tasks or study.tasks):
                seed = _seeds(study, spec)[0]
                tune = {"evaluation.split": "tune", "evaluation.base": False}
                found += [
                    _cell(study, file, out, task, method, seed, {**more, **tune}, number)
                    for number, more in enumerate(spec.tune)
                ]
    return found


def _by_method(cells: list[Cell]) -> dict[tuple[str, str], list[Cell]]:
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.task, cell.method), []).append(cell)
    return found


def _seeds(study: Study, spec: MethodSpec) -> tuple[int, ...]:
    seeds = spec.seeds or study.seeds
    return seeds[:1] if spec.evaluate else seeds


def _cell(
    study: Study,
    file: Path,
    out: Path,
    task: str,
    method: str,
    seed: int,
    more: Mapping[str, Any],
    candidate: int | None,
) -> Cell:
    spec = study.methods[method]
    settings = {**study.settings, **study.tasks[task], **spec.settings, **more, "task": task, "seed": seed}  # type: ignore[index]
    source = Path(os.path.normpath(file.parent / spec.config))
    overrides = as_overrides(settings)
    try:
        config = load_config(source, overrides)
    except ConfigError as error:
        raise ConfigError(f"{file}: {task}, {method}, seed {seed}: {error}") from error
    key = _key(config, spec.evaluate)
    name = f"{task}-{method}-{'untuned' if spec.evaluate else seed}-{key}"
    folder = out / "cells" / (name if candidate is None else f"tune-{name}")
    config = config.model_copy(update={"output_dir": str(folder)})
    return Cell(task, method, seed, candidate, spec.evaluate, config, source, tuple(overrides), folder)


def _key(config: Config, evaluate: bool) -> str:
    """Eight hexadecimal digits that change with every setting that decides what the cell measures.

    Of the settings that aren't at their defaults, so that a version with further settings finds its cells again; that
    no default has changed since is looked for where a record is taken (`same_settings`).
    """
    values = config.model_dump(mode="json", exclude_defaults=True)
    values["stages"] = [stage.model_dump(mode="json", exclude_unset=True) for stage in config.stages]
    later = () if evaluate else MEASURING
    settings = flat_settings(write_yaml(values))
    decides = {key: value for key, value in settings.items() if key not in later and _decides(key, config, evaluate)}
    return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:8]


def same_settings(cell: Cell, config_yaml: str) -> bool:
    """Whether a configuration that was kept says the same as the cell's, as far as both know a setting."""
    kept, now = flat_settings(config_yaml), flat_settings(resolved_yaml(cell.config))
    common = [name for name in kept.keys() & now.keys() if _decides(name, cell.config, cell.evaluate)]
    return all(kept[name] == now[name] for name in common)


def _decides(name: str, config: Config, evaluate: bool) -> bool:
    """Whether a setting has a part in a cell's numbers; of an evaluation's, only what an evaluation looks at has."""
    free = name == SPLIT or any(name == other or name.startswith(f"{other}.") for other in FREE)
    looked_at = ("task", "model", "data", "evaluation", *(["reward"] if config.evaluation.best_of else []))
    return not free and (not evaluate or name.split(".")[0] in looked_at)
