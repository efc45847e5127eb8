"""Keeps what an attack found, without the texts, and writes the tables of docs/rewards.md.

python -m benchmarks.record_attack NAME FOLDER   FOLDER is what `gemma-align reward attack` wrote
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.kept import KEPT, ROOT, keep
from benchmarks.pages import write_block

DROPPED = ("worst", "words")  # texts of the data, and words of them


def table(kept: Mapping[str, Any]) -> str:
    """A row for all degenerate families, and one for every other family."""
    rewards = kept["rewards"]
    data, budget = kept["data"], kept["budget"]
    fluency = kept["reward"]["constraints"]["fluency"]["weight"]
    searched = f"search: {budget['edits_an_example']} edits an answer" if kept["searched"] else "no search"
    lines = [
        f"{kept['task']}, {data['split']} split, {data['num_examples']} honest answers, seed {kept['seed']}; "
        f"{searched}; fluency {f'at {fluency:g} a nat' if fluency else 'off'}:",
        "",
        "| exploit | " + " | ".join(f"beats the {name}, %" for name in rewards) + " | uncaught, % |",
        "| --- |" + " --- |" * (len(rewards) + 1),
    ]
    together = [row for row in kept["margins"] if row["family"].startswith("all degenerate")]
    for row in [*together, *(row for row in kept["margins"] if not row["degenerate"])]:
        cells = [row["rewards"].get(name) for name in rewards]
        alone = row["rewards"].get("constraints alone")
        uncaught = ""
        if alone is not None:
            uncaught = f"{100 * (alone['num_beat'] + alone['num_tied']) / alone['num_attempts']:.1f}"
        lines.append(f"| {row['family']} | " + " | ".join(map(_cell, cells)) + f" | {uncaught} |")
    return "\n".join(lines) + "\n"


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    margin = cell["margin"]
    if margin["low"] is None:
        return f"{100 * margin['mean']:.1f}"
    return f"{100 * margin['mean']:.1f} [{100 * margin['low']:.1f}, {100 * margin['high']:.1f}]"


def write_page() -> None:
    """All attacks that are kept, in the order of their names."""
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("attack_*.json"))]
    write_block(ROOT / "docs" / "rewards.md", "attacks", "\n".join(table(found) for found in kept))


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    if arguments:
        name, folder = arguments
        found = json.loads((Path(folder) / "attack.json").read_text(encoding="utf-8"))
        kept = {key: value for key, value in found.items() if key not in DROPPED}
        keep(f"attack_{name}", kept | {"searched": bool(found["words"])})
    write_page()


if __name__ == "__main__":
    main(sys.argv[1:])
