"""Supervised stages that later runs need not do again: an SFT start is trained once and found again.

When a run has done its first stages, and none of them samples, what they left lies beside the run folder as
stages/TASK-METHODS-KEY: the checkpoint, the logs and the adapters. KEY is a fingerprint of everything that decides
them. A run that begins with the same stages and has more to do takes them from there and goes on as it would after a
stop, so it ends in the same bits as a run that did them itself. Stages that train all weights aren't kept (3 GB each).
"""

import shutil
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from gemma_align import __version__
from gemma_align.config import Config
from gemma_align.data.splits import fingerprint
from gemma_align.data.task import LoadedTask
from gemma_align.errors import CheckpointError, RunDirError
from gemma_align.experiments.files import flush_tree, json_text
from gemma_align.experiments.jsonl import damaged_log
from gemma_align.experiments.run_dir import RunDir
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.unfinished import unfinished
from gemma_align.models.policy import Policy
from gemma_align.trainers.checkpointing import LoopState, latest_checkpoint, load_checkpoint_state

FORMAT = 2
_SECTIONS = {"sft": ("training",), "dpo": ("training", "dpo")}  # what decides a supervised stage beside its data


@dataclass(frozen=True, slots=True)
class Found:
    """Stages that are kept: where, and how many updates they took."""

    folder: Path
    step: int


class KeptStages:
    """What is kept of a run's first stages, and where. For the main process.

    Args:
        config: the run's.
        tasks: the data of each stage.
        policy: as loaded.
        num_processes: that share every batch; another number adds in another order.
    """

    def __init__(self, config: Config, tasks: tuple[LoadedTask, ...], policy: Policy, num_processes: int) -> None:
        self._config = config
        self._tasks = tasks
        self._policy = policy
        self._num_processes = num_processes

    @property
    def num_supervised(self) -> int:
        """Stages before the first one that samples; 0 where nothing is to be kept."""
        if not self._config.checkpoint.reuse_stages or not self._policy.has_adapter:
            return 0
        samples = [stage.samples for stage in self._config.stages]
        return samples.index(True) if True in samples else len(samples)

    def folder(self, count: int) -> Path:
        """Where the first `count` stages lie, or will."""
        config, policy = self._config, self._policy
        stages = config.stages[:count]
        decides: dict[str, Any] = {
            "format": FORMAT,
            "versions": [__version__, torch.__version__],
            "task": config.task,
            "seed": config.seed,
            "weights": policy.info.fingerprint,
            "prompt_format": policy.prompt_format.name,
            "model": config.model.model_dump(mode="json", exclude={"checkpoint", "prompt_format"}),
            "device": [str(policy.device), str(policy.dtype), self._num_processes],
            "data_seed": config.data.seed,
            "best": None if config.checkpoint.measure == "loss" else [config.checkpoint.measure, config.max_new_tokens],
            "stages": [self._decides(index) for index in range(count)],
        }
        key = sha256(json_text(decides).encode()).hexdigest()[:12]
        methods = "-".join(stage.method for stage in stages)
        return Path(config.output_dir).parent / "stages" / f"{config.task}-{methods}-{key}"

    def find(self) -> Found | None:
        """What is kept of the run's first stages, as many as there are; never the last: a run does something itself."""
        for count in range(min(self.num_supervised, len(self._config.stages) - 1), 0, -1):
            folder = self.folder(count)
            if (state := _checked(folder)) is not None:
                return Found(folder, state.step)
        return None

    def take(self, run: RunDir, found: Found) -> str:
        """Fills a run folder that has no checkpoint with what was found. Returns what was done, for people; "" where it
        was gone or damaged after all, and is to be done again."""
        kept = RunPaths(found.folder)
        try:
            for source, target in zip(_logs(kept), _logs(run.paths), strict=True):
                shutil.copyfile(source, target)
            for source, target in zip(_folders(kept), _folders(run.paths), strict=True):
                run.write_folder(target, partial(_copy, source))
        except OSError:
            return ""
        return f"the first {found.step} updates are taken from {kept.root}: same data, weights, settings and seed"

    def put(self, run: RunDir, count: int) -> None:
        """Keeps the first `count` stages, which the run has just done. OSError if they can't be written."""
        target = self.folder(count)
        if _checked(target) is not None:
            return
        with unfinished(target) as place:
            kept = RunPaths(place)
            for source, copy in zip(_logs(run.paths), _logs(kept), strict=True):
                shutil.copyfile(source, copy)
            for source, copy in zip(_folders(run.paths)[:-1], _folders(kept)[:-1], strict=True):
                shutil.copytree(source, copy)
            newest = latest_checkpoint(run.paths.checkpoints)
            if newest is not None:
                shutil.copytree(newest, kept.checkpoints / newest.name)
            flush_tree(place)
            shutil.rmtree(target, ignore_errors=True)
            place.rename(target)

    def _decides(self, index: int) -> dict[str, Any]:
        stage = self._config.stages[index]
        config, task = self._config.for_stage(stage), self._tasks[index]
        return {
            "method": stage.method,
            "train": fingerprint(task.examples("train")),
            "tune": fingerprint(task.examples("tune")),
            "too_long": config.data.too_long,
            **{name: getattr(config, name).model_dump(mode="json") for name in _SECTIONS[stage.method]},
        }


def _checked(folder: Path) -> LoopState | None:
    """The state that kept stages ended in; None where they aren't whole."""
    paths = RunPaths(folder)
    if not all(path.exists() for path in (*_logs(paths), *_folders(paths))):
        return None
    try:
        newest = latest_checkpoint(paths.checkpoints)
        if newest is None:
            return None
        state = load_checkpoint_state(newest)
        return state if damaged_log(folder, state.logs, state.log_sums) is None else None
    except (CheckpointError, RunDirError):
        return None


def _logs(paths: RunPaths) -> tuple[Path, ...]:
    return paths.metrics, paths.samples, paths.timings


def _folders(paths: RunPaths) -> tuple[Path, ...]:
    """The checkpoints last: once they are there, the run goes on after them."""
    return paths.adapter, paths.adapter_best, paths.checkpoints


def _copy(source: Path, new: Path) -> None:
    shutil.copytree(source, new, dirs_exist_ok=True)
