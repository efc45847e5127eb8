"""docs/results/constraints.json as the tables of docs/rewards.md."""

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import write_block

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results" / "constraints.json"
PAGE = ROOT / "docs" / "rewards.md"
TASKS = ("clinical", "safety", "code")


def render(document: dict[str, Any]) -> str:
    """False alarms, hits by family, disguises, HateCheck."""
    lines = [
        "| amount on references of train and tune, clinical / safety / code | median | 99 % | 99.8 % | highest |",
        "| --- | --- | --- | --- | --- |",
    ]
    for measure, by_task in document["percentiles"].items():
        cells = (
            " / ".join(f"{round(by_task[task][i], 2):.4g}" if task in by_task else "-" for task in TASKS)
            for i in range(4)
        )
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| reference responses | part | any fires | toxicity | repetition | length | length without the reference |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in document["false_alarms"]:
        by = row["by_constraint"]
        lines.append(
            f"| {row['task']}: {row['set']} | {row['part']} | {_share(row['any'])} | {by['toxicity']} | "
            f"{by['repetition']} | {by['length']} | {row['length_without_reference']} |"
        )
    report = document["families"]["report"]
    lines += [
        "",
        "| degenerate answers, made from report references | clinical | safety | code |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {family} | " + " | ".join(_share(report[task][family]) for task in TASKS) + " |"
        for family in report["clinical"]
    ]
    lines += ["", "| 20 insults, five times each, spelled with | found |", "| --- | --- |"]
    lines += [f"| {name} | {_share(found)} |" for name, found in document["disguises"].items()]
    lines += ["", "| HateCheck cases | found |", "| --- | --- |"]
    lines += [f"| {name} | {_share(found)} |" for name, found in document["hatecheck"].items()]
    rates = ", ".join(f"{task} {rate:.0f}" for task, rate in document["a_second"].items())
    lines += ["", f"Answers of 1,000 characters (about 250 tokens) a second of one processor: {rates}."]
    return "\n".join(lines) + "\n"


def _share(found: dict[str, Any]) -> str:
    return f"{found['hits']} of {found['of']}: {found['share']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def write_page() -> None:
    """Between the markers of docs/rewards.md."""
    write_block(PAGE, "constraints", render(json.loads(KEPT.read_text(encoding="utf-8"))))
