"""`gemma-align study run FILE`: the cells of a study one after another, or several side by side, each in a process.

A cell is its command with `--resume`, so a study that was stopped goes on where it was. A cell that fails is told and
left; the others are done. Cells that begin with the same supervised stages share them (`stage_kept.py`): while one is
doing them, the others wait for something else to do.
"""

import os
import shlex
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gemma_align.config.study import Study, load_study
from gemma_align.errors import CheckpointError, RunDirError, UserError
from gemma_align.experiments.cost import cost_of
from gemma_align.experiments.interrupts import Interrupts
from gemma_align.experiments.lock import FolderLock
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.study.cells import Cell, cells_of, done, in_archive
from gemma_align.experiments.study.contest import require_better_ways
from gemma_align.experiments.study.pilot import pilot
from gemma_align.experiments.study.record import read_archive
from gemma_align.experiments.study.worker import Worker

POLL_SECONDS = 0.1
LIBRARIES_BYTES = 0.5e9
"""What a process on a CPU has in memory besides tensors, about (`gemma-align memory --measure`)."""


def study_folder(file: Path, out: Path | None) -> Path:
    """Where a study's cells and report lie."""
    return out or Path("runs") / "studies" / file.stem


def archive_of(study: Study, file: Path) -> Path | None:
    """The file that keeps finished cells, if the study names one."""
    return file.parent / study.archive if study.archive else None


class Plan:
    """A study with its cells, those of some methods where only they are asked for.

    Args:
        file: the study's.
        out: its folder; None: runs/studies/ and the file's name.
        only: names of methods; empty: all.

    Raises:
        UserError: the study, or the configuration of a cell, isn't valid.
    """

    def __init__(self, file: Path, out: Path | None, only: Sequence[str] = ()) -> None:
        self.file = file
        self.study = load_study(file)
        require_better_ways(self.study)
        self.folder = study_folder(file, out)
        self.only = only
        unknown = [name for name in only if name not in self.study.methods]
        if unknown:
            raise UserError(f"--only {unknown[0]}: wanted one of the study's methods: {', '.join(self.study.methods)}")
        archive = archive_of(self.study, file)
        self.kept = read_archive(archive) if archive else {}
        self.cells()  # every mistake before anything is done

    def cells(self) -> list[Cell]:
        """As far as they are known: those of a method that is tuned come once its candidates are done."""
        found = cells_of(self.study, self.file, self.folder, self.kept)
        return [cell for cell in found if not self.only or cell.method in self.only]

    def done(self, cell: Cell) -> bool:
        """Whether nothing is left to do of it."""
        return done(cell, self.kept)

    def kept_as_is(self, cell: Cell) -> bool:
        """Whether the archive has it with the same settings."""
        return in_archive(cell, self.kept)

    def cost(self, cell: Cell) -> tuple[float, float] | None:
        """Minutes of everything that a cell's log of times knows of, and its peak memory in GB; None: it isn't done."""
        if cell.finished:
            spent = asdict(cost_of(RunPaths(cell.results)))
        elif self.kept_as_is(cell):
            spent = self.kept[cell.folder.name]["cost"]
        else:
            return None
        return sum(spent["phases"].values()) / 60, spent["peak_gb"]

    @property
    def waiting(self) -> list[str]:
        """Methods whose settings aren't known yet."""
        known = {cell.method for cell in self.cells() if cell.candidate is None}
        return [name for name in self.study.methods if name not in known and (not self.only or name in self.only)]


def run_study(file: Path, *, out: Path | None, jobs: int, only: Sequence[str] = ()) -> int:
    """Does what is left of a study; how many cells failed.

    Args:
        file, out, only: see `Plan`.
        jobs: cells side by side; each gets its share of the cores.

    Raises:
        UserError: as `Plan`; or another process is running this study.
        Interrupted: a signal asked for an end; cells that were begun have saved what they did.
    """
    plan, console = Plan(file, out, only), Console(highlight=False, soft_wrap=True)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(plan.folder / "study.lock", remedy="--out DIR")
    except OSError as error:
        reason = error.strerror or error
        raise RunDirError(f"Can't write a study to {plan.folder}: {reason}. Choose another with --out") from error
    failed: dict[Path, str] = {}
    try:
        with Interrupts("Give the same command to go on"):
            # Again and again, since which cells there are depends on the candidates
            while todo := [cell for cell in plan.cells() if not plan.done(cell) and cell.folder not in failed]:
                failed |= _Pool(jobs, console).run(todo)
    finally:
        lock.release()
    cells = plan.cells()
    left = [cell.name for cell in cells if not plan.done(cell)]
    told = f", {len(left)} are not: {'; '.join(left)}" if left else ""
    console.print(f"{len(cells) - len(left)} cells are done{told}")
    return len(left)


def plan_study(file: Path, *, out: Path | None, only: Sequence[str] = (), pilots: bool = False) -> None:
    """`--dry-run`: every cell, what is done, what time and memory the rest will take as far as that is known, with
    commands; then the most memory that it can take, which is forecast method by method, up to a minute for each.

    With `pilots` two updates of each method of which no cell is done are made, and thrown away, to tell what it takes.
    """
    plan, console = Plan(file, out, only), Console(highlight=False, soft_wrap=True)
    cells = plan.cells()
    spent = {cell.folder: cost for cell in cells if (cost := plan.cost(cell)) is not None}
    known: dict[tuple[str, str], list[tuple[float, float]]] = {}  # by task and method, as `spent`
    for cell in cells:
        if cell.folder in spent:
            known.setdefault((cell.task, cell.method), []).append(spent[cell.folder])
    for cell in cells if pilots else ():
        if (cell.task, cell.method) not in known:
            console.print(f"tried for a moment, to tell how long it takes: {cell.name}")
            tried = pilot(cell)
            known[cell.task, cell.method] = [(tried.minutes, tried.peak_gb)]
    table = Table("cell", "state", "minutes", "peak GB", box=None, pad_edge=False)
    total, unknown = 0.0, 0
    for cell in cells:
        others = known.get((cell.task, cell.method))
        if cell.folder in spent:
            minutes, peak = spent[cell.folder]
            table.add_row(cell.name, "done" if cell.finished else "kept", f"{minutes:.1f}", f"{peak:.1f}")
        elif others:
            minutes, peak = map(statistics.median, zip(*others, strict=True))
            total += minutes
            table.add_row(cell.name, "to do", f"about {minutes:.1f}", f"about {peak:.1f}")
        else:
            unknown += 1
            table.add_row(cell.name, "to do", "not known yet", "")
    console.print(table)
    if plan.waiting:
        console.print(f"more cells come once the candidates of {', '.join(plan.waiting)} are done")
    if total:
        console.print(
            f"left: about {total:.0f} minutes, one after another, as cells of the same methods took (kept ones "
            f"perhaps on another machine){' or pilots foretell' if pilots else ''}"
        )
    if unknown:
        console.print(
            f"how long {unknown} cells take isn't known, as none of their methods is done yet: --pilots tries them"
        )
    todo = [cell for cell in cells if not plan.done(cell)]
    for cell in todo:
        console.print(shlex.join(["gemma-align", *cell.arguments]))
    for (task, method, _), cell in {(cell.task, cell.method, cell.candidate): cell for cell in todo}.items():
        console.print(f"memory of {task}, {method}: {_memory(cell)}")


def _memory(cell: Cell) -> str:
    """Forecast of a cell's worst case where it would run here (`gemma-align memory` tells it by phase)."""
    from gemma_align.experiments.memory.forecast import forecast, run_stages
    from gemma_align.experiments.memory.report import choose_device
    from gemma_align.experiments.memory.steps import evaluate

    device = choose_device(cell.config, None)
    try:
        told = forecast(cell.config, device, (evaluate,) if cell.evaluate else (run_stages, evaluate))
    except CheckpointError:  # of a hub's model that isn't there yet, for instance
        return "not known"
    if device == "cuda":
        return f"at most about {told.needed_bytes() / 1e9:.1f} GB of the card"
    return f"about {(told.peak_bytes + LIBRARIES_BYTES) / 1e9:.1f} GB"


@dataclass
class _Running:
    cell: Cell
    worker: Worker
    cores: tuple[int, ...]
    began: float


class _Pool:
    """So many cells at a time, each on cores of its own: threads that share a core wait for each other."""

    def __init__(self, jobs: int, console: Console) -> None:
        known = hasattr(os, "sched_getaffinity")
        cores = sorted(os.sched_getaffinity(0)) if known else list(range(os.cpu_count() or 1))
        jobs = min(jobs, len(cores))
        self._free = [tuple(cores[i::jobs]) for i in range(jobs)]
        self._running: list[_Running] = []
        self._console = console
        self._failed: dict[Path, str] = {}

    def run(self, cells: Sequence[Cell]) -> dict[Path, str]:
        """Does them all; those that failed, by folder, with their last words."""
        waiting = list(cells)
        try:
            while waiting or self._running:
                self._reap()
                while self._free and (cell := self._next(waiting)):
                    waiting.remove(cell)
                    self._start(cell)
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self._failed

    def _next(self, waiting: Sequence[Cell]) -> Cell | None:
        """The first that shares no supervised start with one that is being made now."""
        busy = {start for running in self._running if (start := _start_of(running.cell)) is not None}
        return next((cell for cell in waiting if _start_of(cell) not in busy), None)

    def _start(self, cell: Cell) -> None:
        cores = self._free.pop(0)
        cell.folder.parent.mkdir(parents=True, exist_ok=True)
        worker = Worker(cell.arguments, cores, _log_of(cell))
        self._running.append(_Running(cell, worker, cores, time.monotonic()))
        self._console.print(f"begun: {cell.name} ({_log_of(cell)})", soft_wrap=True)

    def _reap(self) -> None:
        for running in [r for r in self._running if r.worker.status is not None]:
            self._running.remove(running)
            self._free.append(running.cores)
            cell, minutes = running.cell, (time.monotonic() - running.began) / 60
            status = running.worker.status
            if status == 0 and cell.finished:
                self._console.print(f"done: {cell.name}, {minutes:.1f} minutes", soft_wrap=True)
                continue
            last = _last_lines(_log_of(cell))
            self._failed[cell.folder] = last
            self._console.print(f"failed (status {status}): {cell.name}\n{last}", soft_wrap=True)

    def _stop(self) -> None:
        """Asks the cells to end, and waits: what they have done is kept, and the same command goes on with it."""
        for running in self._running:
            running.worker.ask_to_end()
        for running in self._running:
            running.worker.end(timeout=120)


def _start_of(cell: Cell) -> tuple[str, int, str] | None:
    """What two cells must not do at the same time; None for a cell that does nothing that another may take over."""
    if cell.evaluate or not cell.config.checkpoint.reuse_stages:
        return None
    first = cell.config.stages[0]
    if first.samples:
        return None
    return cell.task, cell.seed, cell.config.for_stage(first).training.model_dump_json()


def _log_of(cell: Cell) -> Path:
    return cell.folder.with_suffix(".log")


def _last_lines(path: Path, count: int = 6) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-count:])
