"""The folder that `gemma-align pairs make` writes.

    pairs.jsonl     the pairs, in the project's own schema: `data.train=FOLDER/pairs.jsonl` reads them
    pairs.json      how they were made: data, policy, scorer, seeds, counts, what was dropped and why, cost
    progress.jsonl  while it is being made: what is made, then one line a finished prompt

A killed making goes on where it was. The first two appear when all prompts are done, and progress.jsonl goes.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from gemma_align.errors import RunDirError
from gemma_align.experiments.files import json_text, write_json, write_text
from gemma_align.experiments.jsonl import JsonLines
from gemma_align.experiments.lock import FolderLock

REMEDY = "--out DIR"


class PairsFolder:
    """An open, locked folder.

    Attributes:
        account: pairs.json, where the pairs are all made already.
        done: the lines of finished prompts, by id.
    """

    def __init__(self, root: Path, made_of: Mapping[str, Any]) -> None:
        """Opens it, or goes on with it.

        Args:
            root: the folder.
            made_of: everything that decides which pairs come out, as JSON values.

        Raises:
            RunDirError: it holds something else, or pairs made of something else, or is being written.
        """
        self.root = root
        self.made_of = json.loads(json_text(made_of))
        self.account: dict[str, Any] | None = None
        self.done: dict[str, dict[str, Any]] = {}
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirError(f"Can't make {root}: {error.strerror or error}. Choose another with {REMEDY}") from error
        foreign = sorted(path.name for path in root.iterdir() if path.name not in _NAMES)
        if foreign:
            raise RunDirError(f"{root} holds files that aren't pairs ({foreign[0]}): choose another with {REMEDY}")
        self._lock = FolderLock(root / ".lock", REMEDY)
        self._progress = JsonLines(root / "progress.jsonl")
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def pairs(self) -> Path:
        """The file of pairs."""
        return self.root / "pairs.jsonl"

    def add(self, line: Mapping[str, Any]) -> None:
        """A finished prompt; it is kept whatever happens afterwards."""
        plain = json.loads(json_text(line))
        self._progress.append(plain)
        self.done[plain["id"]] = plain

    def finish(self, rows: list[Mapping[str, Any]], account: Mapping[str, Any]) -> None:
        """The pairs and their account; the folder is finished then."""
        self.account = json.loads(json_text({"made_of": self.made_of, **account}))
        write_text(self.pairs, "".join(f"{json_text(row)}\n" for row in rows))
        write_json(self.root / "pairs.json", self.account)
        self._progress.close()
        (self.root / "progress.jsonl").unlink(missing_ok=True)

    def close(self) -> None:
        """Gives the lock back."""
        self._progress.close()
        self._lock.release(remove=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        finished = self.root / "pairs.json"
        if finished.exists():
            self.account = json.loads(finished.read_text(encoding="utf-8"))
            self._require_same(self.account["made_of"])
            (self.root / "progress.jsonl").unlink(missing_ok=True)
            return
        self._progress.drop_torn_line()
        path = self._progress.path
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        if lines:
            self._require_same(lines[0]["made_of"])
            self.done = {line["id"]: line for line in lines[1:]}
        else:
            self._progress.append({"made_of": self.made_of})

    def _require_same(self, before: Mapping[str, Any]) -> None:
        keys = sorted(key for key in {*before, *self.made_of} if before.get(key) != self.made_of.get(key))
        if keys:
            shown = "; ".join(f"{key}: {before.get(key)} there, {self.made_of.get(key)} now" for key in keys[:3])
            raise RunDirError(
                f"{self.root} holds pairs made of something else ({shown}): choose another folder with {REMEDY}, or "
                f"delete {self.root}"
            )


_NAMES = ("pairs.jsonl", "pairs.json", "progress.jsonl", ".lock", ".tmp-pairs.jsonl", ".tmp-pairs.json")
