"""docs/results.md (studies, runs, models side by side) and the README's block (studies), from docs/results/ alone."""

import json
import textwrap
from typing import Any

from benchmarks import models_page, studies_page
from benchmarks.kept import KEPT, ROOT, interval
from benchmarks.pages import write_block

SHOWN = ("rouge1", "rouge2", "rougeL", "response_loss", "finished", "length_ratio", "num_tokens", "repetition")
COLUMNS = {"base": "base", "few_shot": "base with worked examples", "tuned": "tuned"}


def table(kept: dict[str, Any]) -> str:
    """Measures by model, and the paired difference tuned - base."""
    evaluation = kept["evaluation"]
    models = {name: evaluation if name == "tuned" else evaluation.get(name) for name in COLUMNS}
    models = {name: model for name, model in models.items() if model}
    lines = [
        "| measure | " + " | ".join(COLUMNS[name] for name in models) + " | tuned - base |",
        "| --- |" + " --- |" * (len(models) + 1),
    ]
    measures = [m for m in SHOWN if m in evaluation["measures"]]
    measures += [m for m in ("fact_coverage", "invented_facts") if m in evaluation["measures"]]
    for measure in measures:
        cells = [interval(model["measures"][measure]) for model in models.values()]
        difference = evaluation.get("base", {}).get("difference", {}).get(measure)
        cells.append(interval(difference) if difference else "")
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def section(name: str, kept: dict[str, Any]) -> str:
    """One run in docs/results.md."""
    evaluation, cost, weights = kept["evaluation"], kept["cost"], kept["checkpoint"]
    seconds, peak = cost["training_seconds"], cost["training_peak_rss_gb"]
    note = "\n" + textwrap.fill(kept["note"], 120) + "\n" if kept.get("note") else ""
    minutes = seconds["total"] / 60
    phases = ", ".join(f"{phase} {value:.0f} s" for phase, value in seconds.items() if phase != "total")
    return f"""## {kept["title"]}

{evaluation["num_examples"]} examples of the {evaluation["split"]} split, greedy, at most
{evaluation["decoding"]["max_new_tokens"]} new tokens, {100 * evaluation["confidence"]:.0f} % intervals over examples of
this one run (they say nothing about another seed).

{table(kept)}
{note}
{course(kept)}Training: {cost["updates"]} updates, {cost["training_tokens"]:,} tokens in {minutes:.1f} minutes
({phases}), median {cost["median_tokens_per_second"]:.0f} tokens a second, peak resident memory {peak:.2f} GB.
Weights: {weights["spec"]}, fingerprint {weights["fingerprint"][:12]}.

    {kept["command"]}

Everything else (configuration, versions, data fingerprints): [results/{name}.json](results/{name}.json).
"""


def course(kept: dict[str, Any]) -> str:
    """How the rewards of a stage that samples went, and its verdicts."""
    rows = kept.get("course")
    if not rows:
        return ""
    names = [name for name in rows[0] if name not in ("first", "last")]
    lines = ["| updates | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    lines += [
        f"| {row['first']} to {row['last']} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |"
        for row in rows
    ]
    verdicts = ", ".join(f"{v['name']} since update {v['began']}" for v in kept.get("verdicts", []))
    told = f"\nVerdicts of the stability monitor: {verdicts}.\n" if verdicts else ""
    return "Means over parts of the updates:\n\n" + "\n".join(lines) + "\n" + told + "\n"


def write_pages() -> None:
    """Both pages, from what was kept alone."""
    everything = {path.stem: json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))}
    read = {name: found for name, found in everything.items() if isinstance(found, dict)}
    kept = {name: found for name, found in read.items() if "evaluation" in found}  # runs; others have their own pages
    head = "# Results\n\nWritten by `make results` from docs/results/; edit neither by hand.\n\n"
    models = [models_page.section(name, found) for name, found in read.items() if found.get("kind") == "models"]
    text = "\n".join([*studies_page.sections(), *(section(n, k) for n, k in kept.items()), *models])
    (ROOT / "docs" / "results.md").write_text(head + text)
    write_block(ROOT / "README.md", "results", "\n".join(studies_page.summaries()))
