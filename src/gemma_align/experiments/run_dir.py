"""A run folder that is being written: who may write there, and how. `run_paths.py` lists what it holds.

metrics.jsonl and samples.jsonl are the same bytes whether a run was stopped and resumed or not. All that a clock tells
is in timings.jsonl, run.log and status.json; the first two only grow.

A run whose block ends without `finish` is unfinished, and so is one whose status says "running" while its lock is
free: it was killed. `run_rules.py` says what may be begun or gone on with. POSIX only (flock).
"""

import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from safetensors import SafetensorError

from gemma_align.errors import RunDirError, UserError
from gemma_align.experiments.environment import describe_environment, utc_now
from gemma_align.experiments.files import flush, flush_tree, write_json, write_text
from gemma_align.experiments.jsonl import JsonLines
from gemma_align.experiments.lock import FolderLock
from gemma_align.experiments.run_log import RunLog
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.run_rules import REMEDY, AlreadyFinished, Begin, how_to_begin, refuse_foreign

__all__ = ["AlreadyFinished", "RunDir", "RunPaths", "State"]

State = Literal["running", "finished", "interrupted", "failed"]

log = logging.getLogger(__name__)


class RunDir:
    """A locked run folder. Use it as a context manager: how the block ends becomes the run's state.

    Attributes:
        paths: where everything is.
        resumed: whether an earlier process began this run.
        metrics, samples: logs without times, cut back to a checkpoint by `rewind`.
        timings: log of times.
    """

    def __init__(self, paths: RunPaths, lock: FolderLock, resumed: bool, made_folder: bool) -> None:
        """For `open`, which is how to get one."""
        self.paths = paths
        self.resumed = resumed
        self.metrics = JsonLines(paths.metrics)
        self.samples = JsonLines(paths.samples)
        self.timings = JsonLines(paths.timings)
        self._lock = lock
        self._made_folder = made_folder
        self._environment: dict[str, Any] = {}
        before = {"started": utc_now(), "stage": "", "step": 0} | (paths.read_status() if resumed else {})
        now = {"state": "running", "message": "", "updated": utc_now(), "pid": os.getpid()}
        self._status: dict[str, Any] = before | now
        self._log = RunLog(paths.log)

    @classmethod
    def open(
        cls, path: Path | str, config_yaml: str, resume: bool = False, *, remedy: str = REMEDY, trains: bool = True
    ) -> Self:
        """Take the folder for this process by the rules in `run_rules.py`. RunDirError where they say error.

        Args:
            path: of the run folder; made with its parents if there is none.
            config_yaml: the resolved configuration. Where a run is kept and watched (`config_diff.FREE`) may change.
            resume: go on with an unfinished run.
            remedy: how the user names another folder, for messages.
            trains: see `run_rules.how_to_begin`.
        """
        paths = RunPaths(path)
        try:
            refuse_foreign(paths, remedy)
            made_folder = not paths.root.exists()
            paths.root.mkdir(parents=True, exist_ok=True)
            lock = FolderLock(paths.lock)
        except OSError as error:
            raise RunDirError(
                f"Can't write a run to {path}: {error.strerror or error}. Choose another folder with {remedy}"
            ) from error
        try:
            begin = how_to_begin(paths, config_yaml, resume, remedy, trains=trains)
        except BaseException:
            lock.release()
            raise
        run = cls(paths, lock, begin is not Begin.NEW, made_folder)
        try:
            run._begin(config_yaml, begin)
        except BaseException as error:
            run._close(discard=not run.resumed)
            if isinstance(error, OSError):
                raise RunDirError(f"Can't write to {path}: {error.strerror or error}.") from error
            raise
        return run

    def add_environment(self, facts: Mapping[str, Any]) -> None:
        """Add to environment.json what only the caller knows: device, precision, seed, data fingerprints, weights."""
        self._environment |= facts
        try:
            write_json(self.paths.environment, self._environment)
        except OSError as error:
            raise RunDirError(f"Could not write {self.paths.environment}: {error.strerror or error}.") from error

    def begun_with(self) -> dict[str, Any]:
        """What an earlier process told with `add_environment`; empty in a new run."""
        earlier = [facts for facts in self._environment.get("earlier", ()) if "checkpoint" in facts]
        return earlier[0] if earlier else {}

    def set_status(
        self,
        state: State = "running",
        *,
        stage: str | None = None,
        step: int | None = None,
        message: str | None = None,
    ) -> None:
        """Say how far the run is; what isn't given stays as it was, but for the message. Never makes a run fail."""
        given = {"stage": stage, "step": step}
        self._status |= {name: value for name, value in given.items() if value is not None}
        self._status |= {"state": state, "message": message or "", "updated": utc_now()}
        try:
            write_json(self.paths.status, self._status)
        except OSError as error:
            log.warning("could not write %s: %s", self.paths.status, error)

    def finish(self, message: str = "") -> None:
        """Call when everything is done; what ends without it counts as interrupted."""
        self.set_status("finished", message=message)

    def log_sizes(self) -> dict[str, int]:
        """Bytes of the logs without times, for `LoopState.logs`; all of them are on the disk when this returns."""
        return {file.path.name: file.size() for file in (self.metrics, self.samples)}

    def log_sums(self) -> dict[str, str]:
        """SHA-256 of what `log_sizes` counts, for `LoopState.log_sums`."""
        return {file.path.name: file.sha256() for file in (self.metrics, self.samples)}

    def rewind(self, sizes: Mapping[str, int]) -> None:
        """Cut the logs back to where the checkpoint was taken; to nothing if there is none and `sizes` is empty."""
        for file in (self.metrics, self.samples):
            wanted, there = sizes.get(file.path.name, 0), file.size()
            if there < wanted:
                log.warning("%s has lost %d bytes since the checkpoint was saved", file.path, wanted - there)
            file.truncate_to(wanted)

    def write_folder(self, target: Path, write: Callable[[Path], object]) -> None:
        """Replace a folder such as `paths.adapter` whole: `write` fills a temporary one, then the two are swapped.

        A kill leaves the old one or the new one, once `open` has put right a swap that was cut in the middle.
        """
        new, old = _beside(target, "new"), _beside(target, "old")
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir()
            write(new)
            flush_tree(new)
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            new.rename(target)
            flush(target.parent)
        except (OSError, SafetensorError) as error:
            raise RunDirError(f"Could not write {target}: {error}. Make room, then go on with --resume.") from error
        finally:
            shutil.rmtree(new, ignore_errors=True)
            _mend_swap(target)

    def note(self, text: str) -> None:
        """A line for run.log alone."""
        self._log.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        users = isinstance(error, UserError)  # a message is enough; for anything else run.log gets the traceback
        if isinstance(error, Exception):
            self._log.write(f"failed: {error}", None if users else error)
            self.set_status("failed", message=f"{type(error).__name__}: {error}")
        elif self._status["state"] == "running":
            self.set_status("interrupted", message=_why_stopped(error))
        stopped = error is not None and (users or not isinstance(error, Exception))
        self._close(discard=stopped and not self.paths.has_results())

    def _begin(self, config_yaml: str, begin: Begin) -> None:
        if begin is Begin.MEASURE_ANEW:
            write_json(self.paths.status, self._status)  # a kill must not leave a finished run without its evaluation
            self.paths.clear_evaluation()
        if self.resumed:
            for target in (self.paths.adapter, self.paths.adapter_best):
                _mend_swap(target)
            self.timings.drop_torn_line()
        else:
            self.paths.clear()
        write_text(self.paths.config, config_yaml)
        self._environment = describe_environment()
        if self.resumed:
            self._keep_earlier_environment()
        self.add_environment({})
        write_json(self.paths.status, self._status)  # fails on a full disk, which set_status alone would not
        self._log.attach()
        self.note(f"{'resumed' if self.resumed else 'begun'}: {' '.join(sys.argv)}")

    def _keep_earlier_environment(self) -> None:
        try:
            before = json.loads(self.paths.environment.read_text(encoding="utf-8"))
            earlier = before.pop("earlier", [])
        except (OSError, ValueError, AttributeError):
            return
        for key in ("python", "packages", "machine", "code"):
            if before.get(key) != self._environment[key]:
                log.warning(
                    "this run was begun with %s %s and goes on with %s: the last digits may differ",
                    key,
                    before.get(key),
                    self._environment[key],
                )
        self._environment["earlier"] = [*earlier, before]

    def _close(self, discard: bool) -> None:
        for file in (self.metrics, self.samples, self.timings):
            file.close()
        self._log.detach()
        if discard:
            self.paths.clear()
        self._lock.release(remove=discard)
        if discard and self._made_folder:
            with contextlib.suppress(OSError):  # somebody put something there
                self.paths.root.rmdir()


def _why_stopped(error: BaseException | None) -> str:
    return "stopped before the end" if error is None else str(error) or type(error).__name__


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".tmp-{what}-{target.name}")


def _mend_swap(target: Path) -> None:
    """After a swap of folders, whole or cut short anywhere: the target is there if it ever was, and nothing else."""
    old = _beside(target, "old")
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(_beside(target, "new"), ignore_errors=True)
