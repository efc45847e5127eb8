"""Sections of docs/results.md about studies, from their archives alone: the answer, the measures, what they cost."""

from pathlib import Path
from typing import Any

from benchmarks.kept import ROOT
from gemma_align.config.study import load_study
from gemma_align.experiments.study.answer import answer
from gemma_align.experiments.study.page import count, interval, number
from gemma_align.experiments.study.run import Plan, archive_of

STUDIES = ROOT / "configs" / "studies"


def sections() -> list[str]:
    """Of each study that has an archive."""
    found = []
    for file in sorted(STUDIES.glob("*.yml")):
        archive = archive_of(load_study(file), file)
        if archive is not None and archive.exists():
            found.append(_section(file))
    return found


def _section(file: Path) -> str:
    plan = Plan(file, None)
    table = [cell for cell in plan.cells() if cell.candidate is None]
    records = {cell.folder.name: plan.kept[cell.folder.name] for cell in table if plan.kept_as_is(cell)}
    missing = [cell.name for cell in table if cell.folder.name not in records]
    told = answer(plan.study, records, missing)
    parts = [f"## Study: {plan.study.title}", ""]
    for task, found in told["tasks"].items():
        parts += [*(f"- {line}" for line in found["words"]), "", *_measures(task, found), "", *_costs(found), ""]
    if told["claims"]:
        parts += ["Claims, written down beforehand:", ""]
        parts += [f"- {claim['text']} ({claim['task']}): {claim['words']}" for claim in told["claims"]]
        parts.append("")
    if missing:
        parts += [f"Not done yet, so not in here: {'; '.join(missing)}.", ""]
    parts += [f"    gemma-align study run {file.relative_to(ROOT)}", ""]
    parts += ["Methods, budget and what the verdicts mean: [studies.md](studies.md).", ""]
    return "\n".join(parts)


def _measures(task: str, found: dict[str, Any]) -> list[str]:
    about, methods = found["evaluated_on"], found["methods"]
    lines = [
        f"{task}, {about['num_examples']} examples of the {about['split']} split; 95 % intervals, of methods with "
        "several seeds over seeds and examples:",
        "",
        "| measure | " + " | ".join(_head(name, method) for name, method in methods.items()) + " |",
        "| --- |" + " --- |" * len(methods),
    ]
    for measure in found["measures"]:
        cells = (interval(method["values"].get(measure)) for method in methods.values())
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    return lines


def _head(name: str, method: dict[str, Any]) -> str:
    seeds = len(method["seeds"])
    return name if not seeds else f"{name} ({seeds} seed{'s' * (seeds != 1)})"


def _costs(found: dict[str, Any]) -> list[str]:
    lines = [
        "| method | updates | tokens sampled | reward calls | minutes | peak GB | reward | KL, nats | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, cost in found["costs"].items():
        if cost["updates"]:
            hacking = found["hacking"].get(name)
            gain = ", ".join(map(number, hacking["proxy_gain"])) if hacking else ""
            kl = ", ".join(map(number, hacking["kl"])) if hacking else ""
            cells = [name, count(cost["updates"]), count(cost["sampled_tokens"]), count(cost["reward_calls"])]
            cells += [f"{cost['seconds'] / 60:.1f}", f"{cost['peak_gb']:.2f}", gain, kl]
            cells.append(hacking["kind"] if hacking else "")
            lines.append("| " + " | ".join(cells) + " |")
    return lines
