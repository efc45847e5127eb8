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
    """Of each study that has an archive, for docs/results.md."""
    return [_section(file, *_told(file)) for file in _kept()]


def summaries() -> list[str]:
    """The answer and the measures of each, for the README."""
    found = []
    for file in _kept():
        plan, told, missing = _told(file)
        parts = [f"**{plan.study.title}**", ""]
        for task, answered in told["tasks"].items():
            parts += [*(f"- {line}" for line in answered["words"]), "", *_measures(task, answered), ""]
        if missing:
            cells = [cell for cell in plan.cells() if cell.candidate is None]
            parts += [f"{len(missing)} of {len(cells)} cells aren't done yet: docs/results.md lists them.", ""]
        found.append("\n".join(parts))
    return found


def _kept() -> list[Path]:
    archives = {file: archive_of(load_study(file), file) for file in sorted(STUDIES.glob("*.yml"))}
    return [file for file, archive in archives.items() if archive is not None and archive.exists()]


def _told(file: Path) -> tuple[Plan, dict[str, Any], list[str]]:
    """The study, its answer from the archive alone, and the names of the cells that aren't there."""
    plan = Plan(file, None)
    table = [cell for cell in plan.cells() if cell.candidate is None]
    records = {cell.folder.name: plan.kept[cell.folder.name] for cell in table if plan.kept_as_is(cell)}
    missing = [cell.name for cell in table if cell.folder.name not in records]
    return plan, answer(plan.study, records, missing), missing


def _section(file: Path, plan: Plan, told: dict[str, Any], missing: list[str]) -> str:
    parts = [f"## Study: {plan.study.title}", ""]
    for task, found in told["tasks"].items():
        parts += [*(f"- {line}" for line in found["words"]), "", *_measures(task, found), "", *_costs(found), ""]
    if told["claims"]:
        parts += ["Claims, written down before anything was run unless they say otherwise:", ""]
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
