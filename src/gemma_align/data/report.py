"""The account of what was read: every row of every source ends as kept in a split, or as dropped for a reason.

`Ledger` is filled while reading and cleaning; `DataReport` is the frozen result, printed and stored with the run.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gemma_align.types import Split

MAX_PROBLEMS = 200  # rows described one by one for each source; the counts are of all
_PRINTED_PROBLEMS = 3


class BadRow(Exception):
    """A row that can't be used. `reason` is what is counted; `detail` tells a person what stood there."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that was dropped; `line` is where it starts in the file, counted from 1 (0: the row has no line)."""

    line: int
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One file, hub set or generator. `num_read` = the sum of `kept` + the sum of `dropped`."""

    name: str
    format: str
    num_read: int
    kept: Mapping[str, int]  # by split, and "shots": worked examples that the set was published with
    dropped: Mapping[str, int]  # by reason
    mended: Mapping[str, int]  # rows that were changed and kept, by what was done
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split as it will be used. The fingerprint is the SHA-256 of its examples in order."""

    name: str
    num_examples: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class DataReport:
    """Where a task's examples came from and what was left out."""

    task: str
    splits: tuple[SplitReport, ...]
    sources: tuple[SourceReport, ...]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For people: one line a split, one a source, and the first few dropped rows of each."""
        out = [
            f"{split.name}: {split.num_examples:,} examples (fingerprint {split.fingerprint[:12]})"
            for split in self.splits
        ]
        for source in self.sources:
            kept = ", ".join(f"{n:,} for {name}" for name, n in source.kept.items()) or "none kept"
            out.append(f"{source.name} ({source.format}): {source.num_read:,} rows read, {kept}")
            out.extend(f"  {n:,} dropped: {reason}" for reason, n in source.dropped.items())
            out.extend(f"  {n:,} mended: {what}" for what, n in source.mended.items())
            malformed = [problem for problem in source.problems if problem.detail]
            for problem in malformed[:_PRINTED_PROBLEMS]:
                out.append(f"    line {problem.line}: {problem.reason} ({problem.detail})")
            if len(malformed) > _PRINTED_PROBLEMS:
                out.append(f"    … {len(malformed) - _PRINTED_PROBLEMS} more in the stored report")
        return out + [f"note: {note}" for note in self.notes]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(slots=True)
class Source:
    """One source while it is being read."""

    name: str
    format: str
    num_read: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    def drop(self, line: int, reason: str, detail: str = "") -> None:
        """Counts a row as dropped and remembers where it stood."""
        self.dropped[reason] += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(line, reason, detail))

    def close(self) -> SourceReport:
        """The frozen account."""
        return SourceReport(
            self.name,
            self.format,
            self.num_read,
            dict(self.kept),
            dict(self.dropped),
            dict(self.mended),
            tuple(self.problems),
        )


@dataclass(slots=True)
class Ledger:
    """All sources of one task, in the order in which they were opened."""

    sources: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def open(self, name: str, format_name: str) -> Source:
        """A new source to count into."""
        source = Source(name, format_name)
        self.sources.append(source)
        return source

    def close(self, task: str, splits: Mapping[Split, tuple[int, str]]) -> DataReport:
        """The frozen report; `splits` holds number of examples and fingerprint of each split."""
        return DataReport(
            task,
            tuple(SplitReport(name, *counts) for name, counts in splits.items()),
            tuple(source.close() for source in self.sources),
            tuple(self.notes),
        )
