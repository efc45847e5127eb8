"""docs/results/simulation.json as the tables of docs/statistics.md."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import write_block

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results" / "simulation.json"
PAGE = ROOT / "docs" / "statistics.md"


def render(document: dict[str, Any]) -> str:
    """The page's tables. A row shows the worst of its cells, so that nothing hides in an average."""
    rows = document["rows"]
    lines = [
        f"{document['num_coverage']:,} pairs of methods and {document['num_studies']:,} studies a cell "
        f"({document['num_run_studies']:,} of given runs), {len(rows)} cells; a row shows the worst of its cells: "
        "3 and 3, 5 and 5, 3 and 5 seeds, 150 and 500 examples.",
        "",
        "| values | seeds' share of a value's variance | of the squared error | coverage | width | "
        "Satterthwaite | examples alone |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for title, kinds in _groups(rows, "coverage"):
        lines.append(
            f"| {title} | {_range(kinds, 'seed_share', 100, 0)} % | {_percent(min(r['crossed'] for r in kinds))} | "
            f"{_range(kinds, 'width', 1, 2)} | {_percent(min(r['satterthwaite'] for r in kinds))} | "
            f"{_percent(min(r['examples_only'] for r in kinds))} |"
        )
    lines += [
        "",
        "| values | seeds' share of a value's variance | false winners, six pairs | four against a given model |",
        "| --- | --- | --- | --- |",
    ]
    for title, kinds in _groups(rows, "winners"):
        lines.append(f"| {title} | " + " | ".join(_percent(max(r[n] for r in kinds)) for n in ("pairs", "base")) + " |")
    lines += ["", "| values of four given runs | examples | false winners, six pairs |", "| --- | --- | --- |"]
    lines += [
        f"| {_what(r['values'])} | {r['num_examples']} | {_percent(r['pairs'])} |" for r in rows if r["kind"] == "runs"
    ]
    return "\n".join(lines) + "\n"


def _groups(rows: Sequence[dict[str, Any]], kind: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Cells by the first two columns."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == kind:
            how = ", seeds on two points" if row["bimodal"] else ""
            if row["spreads"]:
                how = ", one method's seeds alone differ" if 0.0 in row["spreads"] else ", one's 3 times as far apart"
            groups.setdefault(f"{_what(row['values'])}{how} | {100 * row['share']:g} %", []).append(row)
    return list(groups.items())


def _range(rows: Sequence[dict[str, Any]], name: str, scale: float, decimals: int) -> str:
    low, high = (scale * f(row[name] for row in rows) for f in (min, max))
    return f"{low:.{decimals}f} to {high:.{decimals}f}"


def _what(values: str) -> str:
    return f"0/1, {100 * float(values):g} % ones" if values[:2] == "0." and values[2:].isdigit() else values


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def write_page() -> None:
    """Between the markers of docs/statistics.md."""
    write_block(PAGE, "simulation", render(json.loads(KEPT.read_text())))
