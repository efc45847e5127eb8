"""Checkpoints of the training loop: written whole or not at all, checked before they are trusted.

    checkpoints/
      step-000100/
        state.safetensors    every tensor of the LoopState
        state.json           everything else
        ...                  whatever the caller adds, such as an adapter folder
        manifest.json        size and sha256 of each file above

A checkpoint is written to a temporary folder beside the others, flushed to disk file by file, and renamed: a kill, a
power cut or a full disk leaves either the whole checkpoint or none. Nothing that could run code is written or read.
Only one process writes, under the run folder's lock; any process may read.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gemma_align.errors import CheckpointError
from gemma_align.experiments.files import flush, flush_tree
from gemma_align.trainers.loop_state import Best, LoopState, capture_rng, flatten, restore_rng, unflatten

__all__ = [
    "Best",
    "LoopState",
    "capture_rng",
    "checkpoint_before",
    "clean_leftovers",
    "flatten",
    "latest_checkpoint",
    "load_checkpoint_state",
    "newest_state",
    "restore_rng",
    "save_checkpoint",
    "unflatten",
    "verify_checkpoint",
]

log = logging.getLogger(__name__)

FORMAT = 2
_TEMPORARY = ".tmp-"
_EXTRA = "-extra"  # one that no interval asked for
_NAME = re.compile(rf"step-(\d{{6,}})(?:\.(\d+))?(?:{_EXTRA})?")  # ".1": saved again; none is ever overwritten


def save_checkpoint(
    folder: Path,
    state: LoopState,
    keep: int,
    also: Callable[[Path], None] | None = None,
    *,
    extra: bool = False,
) -> Path:
    """Write a checkpoint, then remove all but the newest `keep` and the one at the best evaluation's step.

    `also` may write further files into the folder it is given; they are checked and renamed with the rest. Returns
    the checkpoint's path. CheckpointError if the disk is full or a write fails: earlier checkpoints are untouched then.

    An `extra` one, of a run that is being stopped, pushes out no other, no rewind goes to it, and the next one takes
    its place: the run goes on as if it had never been there.
    """
    if keep < 1:
        raise ValueError(f"keep must be at least 1, not {keep}")
    temporary = folder / f"{_TEMPORARY}step-{state.step:06d}-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clean_leftovers(folder)
        temporary.mkdir()
        tensors, plain = state.flatten()
        save_file(tensors, temporary / "state.safetensors")
        _write_json(temporary / "state.json", plain)
        if also is not None:
            also(temporary)
        _write_json(temporary / "manifest.json", _manifest(temporary))
        flush_tree(temporary)
        target = _free_name(folder, state.step, extra)
        temporary.rename(target)
        flush(folder)
    except (OSError, SafetensorError) as error:
        intact = next((path.name for _, path in _checkpoints(folder) if _problem(path) is None), None)
        raise CheckpointError(
            f"Could not save a checkpoint at step {state.step} in {folder}: {error}. "
            + (f"The last good one, {intact}, is intact. " if intact else "There is no earlier one. ")
            + "Make room or mend the disk, then give the same command with --resume."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # there only if something above failed
    _prune(folder, target, state, keep)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that passes its checks; None if there are none.

    Others are named in a warning and passed over. CheckpointError if none passes: starting again from the beginning is
    then the user's choice to make.
    """
    found = [path for _, path in _checkpoints(folder)]
    problems = []
    for path in found:
        problem = _problem(path)
        if problem is None:
            return path
        problems.append(f"{path.name}: {problem}")
        log.warning("passed over the checkpoint %s: %s", path, problem)
    if problems:
        raise CheckpointError(
            f"No checkpoint in {folder} can be used ({'; '.join(problems)}). "
            "Delete that folder to train from the beginning, or put back a good copy of one of them."
        )
    return None


def newest_state(folder: Path, problem: Callable[[LoopState], str | None]) -> LoopState | None:
    """The state where a run goes on; None if there are no checkpoints.

    Args:
        folder: of the checkpoints.
        problem: what is wrong with the files that go with a state and aren't in its checkpoint, in words; None if
            nothing is. States with a problem are passed over, with a warning, as long as an earlier one has none: what
            came after it is done again.

    Raises:
        CheckpointError: as `latest_checkpoint` does.
    """
    newest = latest_checkpoint(folder)
    if newest is None:
        return None
    wrong = problem(state := load_checkpoint_state(newest))
    if wrong is None:
        return state
    good = [path for _, path in _checkpoints(folder) if _problem(path) is None]
    for path in good[good.index(newest) + 1 :]:
        del state  # one at a time: it may hold all weights
        if problem(state := load_checkpoint_state(path)) is None:
            log.warning("%s; going on from %s, which was saved before that part of it", wrong, path.name)
            return state
    log.warning("%s; no checkpoint was saved before that part of it, so it stays as it is", wrong)
    return load_checkpoint_state(newest)


def checkpoint_before(
    folder: Path, step: int, stage: int, abandoned: Sequence[tuple[int, int]] = ()
) -> LoopState | None:
    """The newest good state of a stage from before an update of the whole run; None where none is kept.

    `abandoned` are the updates that an earlier rewind undid, after the first of each pair up to the second.
    """
    for found, path in _checkpoints(folder):
        undone = any(first < found <= last for first, last in abandoned)
        if found < step and not undone and not _is_extra(path) and _problem(path) is None:
            state = load_checkpoint_state(path)
            return state if state.stage == stage else None
    return None


def verify_checkpoint(path: Path) -> None:
    """CheckpointError if a file of the checkpoint is missing or isn't the one that was written."""
    problem = _problem(path)
    if problem is not None:
        raise CheckpointError(f"The checkpoint {path} can't be used: {problem}. Use an earlier one.")


def load_checkpoint_state(path: Path) -> LoopState:
    """The state kept in a checkpoint, checked first, with every tensor on the CPU."""
    verify_checkpoint(path)
    try:
        plain = json.loads((path / "state.json").read_text(encoding="utf-8"))
        return LoopState.unflatten(load_file(path / "state.safetensors"), plain)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint {path} is whole but holds no training state that this version can read: {error}."
        ) from error


def clean_leftovers(folder: Path) -> None:
    """Remove what killed writes left behind. For the process that holds the run's lock: it removes live writes too."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of each checkpoint, good or damaged, newest first."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir() and not path.is_symlink():
            found.append((int(match[1]), int(match[2] or 0), path))
    return [(step, path) for step, _, path in sorted(found, reverse=True)]


def _free_name(folder: Path, step: int, extra: bool) -> Path:
    """Later than every other of the same step, whether or not the earlier ones are still there."""
    twins = [path for found, path in _checkpoints(folder) if found == step]
    name, ending = f"step-{step:06d}", _EXTRA if extra else ""
    if not twins:
        return folder / f"{name}{ending}"
    _, _, copy = twins[0].name.removesuffix(_EXTRA).partition(".")
    return folder / f"{name}.{int(copy or 0) + 1}{ending}"


def _prune(folder: Path, newest: Path, state: LoopState, keep: int) -> None:
    """Keep the newest and the best.

    One AHEAD of the state just saved was passed over by a resume, so it goes too: counting it among the newest could
    push out the only good one.
    """
    past = [path for step, path in _checkpoints(folder) if step < state.step and not _is_extra(path)]
    kept = {newest, *past[: keep if _is_extra(newest) else keep - 1]}
    for step, path in _checkpoints(folder):
        best = state.best is not None and step == state.best.step and step < state.step and not _is_extra(path)
        if path in kept or best:
            continue
        doomed = folder / f"{_TEMPORARY}old-{path.name}"
        try:
            path.rename(doomed)  # first out of sight, so that a kill in the middle leaves no half checkpoint
            shutil.rmtree(doomed)
        except OSError as error:
            log.warning("could not remove the old checkpoint %s: %s", path, error)


def _is_extra(path: Path) -> bool:
    return path.name.endswith(_EXTRA)


def _manifest(folder: Path) -> dict[str, Any]:
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {"format": FORMAT, "files": files}


def _problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, in words; None if nothing is."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return f"its format is {manifest['format']!r}, this version of the program reads {FORMAT}"
        if not {"state.json", "state.safetensors"} <= set(manifest["files"]):
            return "its manifest lists no training state"
        for name, wanted in manifest["files"].items():
            file = path / name
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or file.is_symlink():
                return f"its manifest names {name!r}, which is not a file of its own"
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != wanted["bytes"]:
                return f"{name} has {file.stat().st_size} bytes where {wanted['bytes']} were written"
            if _sha256(file) != wanted["sha256"]:
                return f"{name} is not what was written (its checksum differs)"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"it can't be read: {error}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "its manifest is damaged"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, allow_nan=False), encoding="utf-8")
