"""docs/results/chaos.json as the table of docs/reliability.md."""

import json
from collections.abc import Sequence
from typing import Any

from benchmarks.kept import KEPT, ROOT
from benchmarks.pages import write_block

Row = dict[str, Any]


def render(rows: Sequence[Row]) -> str:
    total = {name: sum(row[name] for row in rows) for name in ("tried", "survived", "lost")}
    lines = ["| what was done to a run | methods | tried | survived | lost |", "| --- | --- | --- | --- | --- |"]
    for row in [*rows, {"fault": "all", "methods": [], **total}]:
        counts = " | ".join(str(row[name]) for name in total)
        lines.append(f"| {row['fault']} | {', '.join(row['methods'])} | {counts} |")
    return "\n".join(lines) + "\n"


def merged(rows: Sequence[Row]) -> list[Row]:
    """New rows in the place of the kept ones of the same faults."""
    path = KEPT / "chaos.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    return sorted([*rows, *(old for old in kept if old["fault"] not in {row["fault"] for row in rows})], key=_fault)


def write_page() -> None:
    """Between the markers of docs/reliability.md."""
    write_block(ROOT / "docs" / "reliability.md", "chaos", render(json.loads((KEPT / "chaos.json").read_text())))


def _fault(row: Row) -> str:
    return str(row["fault"])
