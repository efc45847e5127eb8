"""What training did everywhere, in one view: the main measures of each task, tuned against base.

On the tasks that a model wasn't trained for, and on neutral prose, this is the alignment tax (Askell et al. 2021).
Made from what `evaluation.json` holds, so that it can be made again from stored results.
"""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gemma_align.evaluation.statistics import Interval
from gemma_align.evaluation.table import number, shown

MAIN: Mapping[str, tuple[str, ...]] = {
    "clinical": ("rougeL", "semantic_similarity", "fact_coverage", "claim_coverage", "invented_facts", "response_loss"),
    "safety": ("refusal", "over_refusal", "toxicity", "degenerate", "preference_accuracy", "response_loss"),
    "code": ("pass@1", "test_share", "runs", "parses", "bleu", "response_loss"),
    "neutral": ("response_loss", "perplexity"),
}
"""Of each task, those of these that were measured."""


def summary(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """{task: {measure: {"tuned", "base", "difference"}}}, each an interval as in evaluation.json, or None.

    Args:
        documents: each task's evaluation.json. A document of the base model alone has no "tuned".
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for task, document in documents.items():
        alone = document["model"] == "base"
        base = document if alone else document.get("base", {})
        tuned = {} if alone else document
        rows = {
            name: {
                "tuned": tuned.get("measures", {}).get(name),
                "base": base.get("measures", {}).get(name),
                "difference": None if alone else base.get("difference", {}).get(name),
            }
            for name in MAIN.get(task, ())
        }
        found[task] = {name: row for name, row in rows.items() if row["tuned"] or row["base"]}
    return found


def summary_table(rows: Mapping[str, Mapping[str, Mapping[str, Any]]], trained_for: str | None) -> RenderableType:
    """The same for people, at 80 columns: of a comparison the means and the difference with its interval.

    Args:
        rows: what `summary` gives.
        trained_for: the task of the tuned model; None for a base model alone.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for title in ["task", "measure", "base"] + (["tuned", "difference", ""] if trained_for else []):
        table.add_column(title, no_wrap=True)
    for task, measures in rows.items():
        for i, (name, row) in enumerate(measures.items()):
            base, tuned, difference = (_interval(row[kind]) for kind in ("base", "tuned", "difference"))
            cells = [shown(base) if base else ""]
            if trained_for:
                means = [number(side.mean) if side else "" for side in (base, tuned)]
                mark = "*" if difference and difference.excludes_zero else ""
                cells = [*means, shown(difference, "+") if difference else "", mark]
            table.add_row(*map(Text, ["" if i else task, name, *cells]))
    if not trained_for:
        return table
    legend = f"* tuned - base, paired by example: the interval excludes zero. Tuned for: {trained_for}"
    return Group(table, Text(), Text(legend))


def _interval(stored: Mapping[str, Any] | None) -> Interval | None:
    return Interval(stored["mean"], stored["low"], stored["high"], stored["n"]) if stored else None
