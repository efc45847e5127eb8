"""Where things are in a run folder, and what state a run is in. Reading needs no lock.

    config.yml           the resolved configuration        run.lock        held while a process writes here
    environment.json     versions, machine, commit, data   run.log         what was said, with times
    status.json          state, stage, step, message       checkpoints/    to go on from
    metrics.jsonl        one line an update, no times      adapter/        the last one, PEFT format
    timings.jsonl        one line an update, times only    adapter_best/   the best by the configured measure
    samples.jsonl        responses along the way           tensorboard/    event files
    evaluation.json      the measures at the end         trackers/       of trackers that want a folder
    judge/               what judges said afterwards    evaluated/      of the models that are done, until all are

Asking for a path makes nothing.
"""

import json
import shutil
from pathlib import Path
from typing import Any

_IGNORED = {".DS_Store", ".gitkeep", ".gitignore"}


class RunPaths:
    """The layout of one run folder, whether it exists or not."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.config = self.root / "config.yml"
        self.environment = self.root / "environment.json"
        self.status = self.root / "status.json"
        self.metrics = self.root / "metrics.jsonl"
        self.timings = self.root / "timings.jsonl"
        self.samples = self.root / "samples.jsonl"
        self.evaluation = self.root / "evaluation.json"
        self.lock = self.root / "run.lock"
        self.log = self.root / "run.log"
        self.checkpoints = self.root / "checkpoints"
        self.adapter = self.root / "adapter"
        self.adapter_best = self.root / "adapter_best"
        self.tensorboard = self.root / "tensorboard"
        self.trackers = self.root / "trackers"
        self.judge = self.root / "judge"
        self.evaluated = self.root / "evaluated"

    def is_empty(self) -> bool:
        """No such folder, or nothing in it."""
        return not self.root.exists() or all(path.name in _IGNORED for path in self.root.iterdir())

    def is_run(self) -> bool:
        """A run was started here. Copies may lack the lock file."""
        return self.lock.exists() or (self.config.exists() and self.status.exists())

    def has_results(self) -> bool:
        """Something that took work to make: an update in the logs, a checkpoint, an adapter, an evaluation."""
        logged = any(path.exists() and path.stat().st_size for path in (self.metrics, self.samples))
        kept = any(path.exists() for path in (self.adapter, self.adapter_best, self.evaluated, self.evaluation))
        return logged or kept or any(self.checkpoints.glob("step-*"))

    def read_status(self) -> dict[str, Any]:
        """What status.json says; empty if there is none that can be read."""
        try:
            status = json.loads(self.status.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return status if isinstance(status, dict) else {}

    def clear_evaluation(self) -> None:
        """Remove what an evaluation left but for the responses, which the logs are cut back by."""
        self.evaluation.unlink(missing_ok=True)
        shutil.rmtree(self.evaluated, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a run writes, except the lock; files that don't belong to a run stay."""
        own = {path for path in vars(self).values() if path not in (self.root, self.lock)}
        for path in own | set(self.root.glob(".tmp-*")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
