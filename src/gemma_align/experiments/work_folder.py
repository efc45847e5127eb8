"""A folder in which something is made prompt by prompt, such as preference pairs or samples.

    NAME.jsonl      what was made, a line each
    NAME.json       how: everything that decides what came out, then counts and cost
    progress.jsonl  while it is being made: what is made, then one line a finished prompt

A killed making goes on where it was. The first two appear when all prompts are done, and progress.jsonl goes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from gemma_align.errors import RunDirError
from gemma_align.experiments.files import json_text, write_json, write_text
from gemma_align.experiments.jsonl import JsonLines
from gemma_align.experiments.lock import FolderLock

REMEDY = "--out DIR"


class WorkFolder:
    """An open, locked folder.

    Attributes:
        account: NAME.json, where everything is made already.
        done: the lines of finished prompts, by id.
    """

    def __init__(self, root: Path, made_of: Mapping[str, Any], name: str) -> None:
        """Opens it, or goes on with it.

        Args:
            root: the folder.
            made_of: everything that decides what comes out, as JSON values.
            name: of its files, and of what is made in it, such as "pairs".

        Raises:
            RunDirError: it holds something else, or the same made of something else, or is being written.
        """
        self.root = root
        self.name = name
        self.made_of = json.loads(json_text(made_of))
        self.account: dict[str, Any] | None = None
        self.done: dict[str, dict[str, Any]] = {}
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirError(f"Can't make {root}: {error.strerror or error}. Choose another with {REMEDY}") from error
        files = (f"{name}.jsonl", f"{name}.json")
        known = {"progress.jsonl", ".lock", *files, *(f".tmp-{file}" for file in files)}
        foreign = sorted(path.name for path in root.iterdir() if path.name not in known)
        if foreign:
            raise RunDirError(f"{root} holds files that aren't {name} ({foreign[0]}): choose another with {REMEDY}")
        self._lock = FolderLock(root / ".lock", REMEDY)
        self._progress = JsonLines(root / "progress.jsonl")
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def rows(self) -> Path:
        """NAME.jsonl."""
        return self.root / f"{self.name}.jsonl"

    @property
    def _account(self) -> Path:
        return self.root / f"{self.name}.json"

    def read_rows(self) -> list[dict[str, Any]]:
        """What NAME.jsonl holds."""
        return [json.loads(line) for line in self.rows.read_text(encoding="utf-8").splitlines()]

    def add(self, line: Mapping[str, Any]) -> None:
        """A finished prompt; it is kept whatever happens afterwards."""
        plain = json.loads(json_text(line))
        self._progress.append(plain)
        self.done[plain["id"]] = plain

    def finish(self, rows: Sequence[Mapping[str, Any]], account: Mapping[str, Any]) -> None:
        """NAME.jsonl and NAME.json; the folder is finished then."""
        self.account = json.loads(json_text({"made_of": self.made_of, **account}))
        write_text(self.rows, "".join(f"{json_text(row)}\n" for row in rows))
        write_json(self._account, self.account)
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
        if self._account.exists():
            self.account = json.loads(self._account.read_text(encoding="utf-8"))
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
                f"{self.root} holds {self.name} made of something else ({shown}): choose another folder with {REMEDY}, "
                f"or delete {self.root}"
            )
