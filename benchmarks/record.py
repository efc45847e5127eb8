"""Keeps what a run measured, and writes docs/results.md and the README's table from everything that was kept.

python -m benchmarks.record RUN NAME "what it shows" ["what it means"]  adds docs/results/NAME.json
python -m benchmarks.record                                           writes the pages again (`make results`)
"""

import json
import os
import statistics
import sys
import textwrap
from pathlib import Path
from typing import Any

from benchmarks.pages import write_block

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results"
SHOWN = ("rouge1", "rouge2", "rougeL", "response_loss", "finished", "length_ratio", "num_tokens", "repetition")
COLUMNS = {"base": "base", "few_shot": "base with worked examples", "tuned": "tuned"}


def digest(run: Path, title: str, note: str = "") -> dict[str, Any]:
    """What is worth keeping of a finished run: its measures, what it cost, and how to make it again."""
    environment = json.loads((run / "environment.json").read_text())
    timings = [json.loads(line) for line in (run / "timings.jsonl").read_text().splitlines()]
    updates = [t for t in timings if "tokens_per_second" in t]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    seconds: dict[str, float] = {}
    for record in timings:
        for phase, value in record["seconds"].items():
            seconds[phase] = seconds.get(phase, 0.0) + value
    return {
        "title": title,
        "note": note,
        "command": " ".join(["gemma-align", *environment["command"][1:]]),
        "config": (run / "config.yml").read_text(),
        "checkpoint": {name: value for name, value in environment["checkpoint"].items() if name != "path"},
        "machine": environment["machine"],
        "packages": environment["packages"],
        "code": environment["code"],
        "data": environment["data"],
        "evaluation": json.loads((run / "evaluation.json").read_text()),
        "cost": {
            "updates": len(updates),
            "training_tokens": sum(m.get("tokens", 0) for m in metrics),
            "median_tokens_per_second": statistics.median(t["tokens_per_second"] for t in updates),
            "training_seconds": {phase: round(value, 1) for phase, value in seconds.items()},
            "training_peak_rss_gb": max(t["peak_rss_gb"] for t in timings),
        },
    }


def portable(text: str) -> str:
    """Without the folders of this machine: the public sets lie in $GEMMA_ALIGN_DATA, all else in the project."""
    data = os.environ.get("GEMMA_ALIGN_DATA") or str(ROOT.parent / "shared" / "data")
    for folder, name in ((data, "$GEMMA_ALIGN_DATA"), (str(ROOT), "."), (str(Path.home()), "~")):
        text = text.replace(folder, name)
    return text


def interval(measure: dict[str, Any]) -> str:
    """Such as 0.214 [0.193, 0.236]."""
    if measure["low"] is None:
        return f"{measure['mean']:.3g}"
    return f"{measure['mean']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


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
    phases = ", ".join(f"{phase} {value:.0f} s" for phase, value in seconds.items() if phase != "total")
    return f"""## {kept["title"]}

{evaluation["num_examples"]} examples of the {evaluation["split"]} split, greedy, at most
{evaluation["decoding"]["max_new_tokens"]} new tokens, {100 * evaluation["confidence"]:.0f} % intervals over examples of
this one run (they say nothing about another seed).

{table(kept)}
{note}
Training: {cost["updates"]} updates, {cost["training_tokens"]:,} tokens in {seconds["total"] / 60:.1f} minutes
({phases}), median {cost["median_tokens_per_second"]:.0f} tokens a second, peak resident memory {peak:.2f} GB.
Weights: {weights["spec"]}, fingerprint {weights["fingerprint"][:12]}.

    {kept["command"]}

Everything else (configuration, versions, data fingerprints): [results/{name}.json](results/{name}.json).
"""


def write_pages() -> None:
    """docs/results.md and the README's block, from docs/results/*.json alone."""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json"))}
    kept = {name: found for name, found in read.items() if "evaluation" in found}  # runs; others have their own pages
    head = "# Results\n\nWritten by `make results` from docs/results/*.json; edit neither by hand.\n\n"
    (ROOT / "docs" / "results.md").write_text(head + "\n".join(section(n, k) for n, k in kept.items()))
    blocks = [f"**{k['title']}**\n\n{table(k)}\n" for k in kept.values()]
    write_block(ROOT / "README.md", "results", "\n".join(blocks))


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    if arguments:
        run, name, title, *note = arguments
        KEPT.mkdir(parents=True, exist_ok=True)
        text = portable(json.dumps(digest(Path(run), title, " ".join(note)), indent=1, sort_keys=True))
        (KEPT / f"{name}.json").write_text(text + "\n")
    write_pages()


if __name__ == "__main__":
    main(sys.argv[1:])
