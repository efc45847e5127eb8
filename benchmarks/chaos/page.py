"""docs/results/chaos.json as the table of docs/reliability.md."""

import json
from typing import Any

from benchmarks.kept import KEPT, ROOT
from benchmarks.pages import write_block


def render(document: dict[str, Any]) -> str:
    rows = document["rows"]
    total = {name: sum(row[name] for row in rows) for name in ("tried", "survived", "lost")}
    lines = [
        f"{document['kills']} kills and {total['tried'] - document['kills']} other disturbances of runs "
        f"of the tiny model (`make chaos`, seed {document['seed']}).",
        "",
        "| what was done to a run | methods | tried | survived | lost |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in [*rows, {"fault": "all", "methods": [], **total}]:
        counts = " | ".join(str(row[name]) for name in ("tried", "survived", "lost"))
        lines.append(f"| {row['fault']} | {', '.join(row['methods'])} | {counts} |")
    return "\n".join(lines) + "\n"


def write_page() -> None:
    """Between the markers of docs/reliability.md."""
    write_block(ROOT / "docs" / "reliability.md", "chaos", render(json.loads((KEPT / "chaos.json").read_text())))
