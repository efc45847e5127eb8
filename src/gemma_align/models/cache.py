"""Folders that are built once and then only read, safe between processes and after a kill.

A folder is built beside its place under another name and renamed when it is whole, so its name is proof that it was
finished. A file lock keeps a second process from building the same thing; the system frees the lock when its holder
dies, however it dies, and the next process sweeps up what was left.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from gemma_align.errors import CheckpointError
from gemma_align.models.fingerprint import file_sha256

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1

Notify = Callable[[str], None]


def say(message: str) -> None:
    """Tell the person at the terminal, without mixing into what a command prints as its result."""
    print(message, file=sys.stderr, flush=True)


def cache_root() -> Path:
    """The package's cache folder: GEMMA_ALIGN_CACHE, or gemma-align/ under XDG_CACHE_HOME or ~/.cache.

    Raises:
        CheckpointError: there is no home folder to put it in.
    """
    if own := os.environ.get("GEMMA_ALIGN_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG specification tells programs to ignore a relative path here.
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "gemma-align"
    except RuntimeError as error:
        raise CheckpointError(
            "no home folder is known, so there is no cache folder for converted weights. "
            "Set GEMMA_ALIGN_CACHE to a folder that can be written."
        ) from error


def digest_memory() -> Path:
    """Where digests of large files are remembered; see models/fingerprint.py."""
    return cache_root() / "sha256"


def write_manifest(folder: Path) -> None:
    """Record name, size and sha256 of every file of a finished folder."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path, digest_memory())}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / MANIFEST).write_text(json.dumps({"format": MANIFEST_FORMAT, "files": files}, indent=1), encoding="utf-8")


def problem_with(folder: Path, *, hashes: Literal["none", "remembered", "fresh"] = "remembered") -> str | None:
    """What keeps a built folder from being used, or None if it is sound.

    Args:
        folder: a folder made by `build_once`.
        hashes: none compares sizes only; remembered takes a digest computed before for a file untouched since, so it
            costs nothing but the first time; fresh reads every file.
    """
    if not folder.is_dir():
        return "it does not exist"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != MANIFEST_FORMAT:
            return f"its {MANIFEST} has format {manifest['format']!r}, not {MANIFEST_FORMAT}"
        files = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
    except FileNotFoundError:
        return f"its {MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"its {MANIFEST} can't be read"
    for name, (size, sha256) in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if hashes != "none" and file_sha256(path, digest_memory() if hashes == "remembered" else None) != sha256:
            return f"{name} has changed since it was written"
    return None


def build_once(
    target: Path,
    build: Callable[[Path], None],
    *,
    num_bytes: int = 0,
    check: Callable[[Path], str | None] = problem_with,
    notify: Notify = say,
) -> Path:
    """The folder `target`, built by `build` if no process has built it yet.

    Args:
        target: the folder that is wanted.
        build: fills the empty folder it is given; a manifest is added afterwards.
        num_bytes: disk space that building needs; checked before.
        check: says what is wrong with an existing folder; a damaged one is built again, with a word about it.
        notify: takes messages for people.

    Raises:
        CheckpointError: the cache can't be written, or the disk is too full.
    """
    if check(target) is None:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = _acquire(target, notify)
    except OSError as error:
        raise CheckpointError(
            f"the cache folder {target.parent} can't be written ({error.strerror or error}). "
            "Set GEMMA_ALIGN_CACHE to a folder that can."
        ) from error
    with lock:
        problem = check(target)
        if problem is None:
            return target
        _sweep(target)
        if target.exists():
            notify(f"The cached {target} is damaged: {problem}. Building it again.")
            # Renamed first: from here on no process can find it, and one that reads it keeps its open files.
            damaged = _beside(target, "damaged")
            target.rename(damaged)
            shutil.rmtree(damaged, ignore_errors=True)
        require_space(target.parent, num_bytes, what=f"building {target.name}")
        part = _beside(target, "part")
        try:
            part.mkdir()
            build(part)
            write_manifest(part)
            _flush(part)
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    return target


def require_space(folder: Path, num_bytes: int, *, what: str) -> None:
    """Refuse to start what can't be finished.

    Raises:
        CheckpointError: `folder`'s disk has less than `num_bytes` free.
    """
    free = shutil.disk_usage(folder).free
    if free < num_bytes:
        raise CheckpointError(
            f"{what} needs {num_bytes / 1e9:.1f} GB of disk space in {folder}, and {free / 1e9:.1f} GB are free. "
            "Make room, or use another disk (GEMMA_ALIGN_CACHE chooses the cache folder)."
        )


def _acquire(target: Path, notify: Notify) -> AbstractContextManager[object]:
    """The lock on building `target`, held already; leaving its context frees it."""
    lock = FileLock(target.parent / f".{target.name}.lock")
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        notify(f"Another process is preparing {target.name}; waiting for it.")
        return lock.acquire()


def _beside(target: Path, purpose: str) -> Path:
    return target.parent / f".{target.name}.{purpose}-{os.getpid()}-{secrets.token_hex(4)}"


def _sweep(target: Path) -> None:
    """Remove what a killed process left. The caller holds the lock, so nobody is working on it."""
    for purpose in ("part", "damaged"):
        for left in target.parent.glob(f".{target.name}.{purpose}-*"):
            shutil.rmtree(left, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Bring contents to the disk before the rename, or a power cut could leave a whole name on empty files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
