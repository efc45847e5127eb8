"""Models side by side, as tables of docs/results.md."""

import textwrap
from collections.abc import Mapping
from typing import Any

from benchmarks.kept import interval

SHOWN: Mapping[str, tuple[str, ...]] = {
    "clinical": (
        "rougeL", "rouge1", "semantic_similarity", "claim_coverage", "unsupported_share", "response_loss", "finished",
        "repetition", "length_ratio",
    ),
    "safety": (
        "refusal", "over_refusal", "toxicity", "degenerate", "preference_accuracy", "response_loss", "finished",
        "repetition", "num_tokens",
    ),
    "code": ("pass@1", "pass@8", "test_share", "runs", "parses", "response_loss", "finished", "repetition"),
    "neutral": ("response_loss", "perplexity"),
}  # fmt: skip


def section(name: str, kept: Mapping[str, Any]) -> str:
    """Tables for docs/results.md."""
    parts = [f"## {kept['title']}\n"]
    for table in kept["tables"]:
        about, models = table["about"], _in_order(table)
        task = about["task"]
        tokens = about.get("decoding.max_new_tokens")
        how = "nothing generated" if tokens is None else f"greedy, at most {tokens} new tokens"
        parts.append(f"### {task}: {about['num_examples']} examples of the {about['split']} split, {how}\n")
        parts.append("| measure | " + " | ".join(models) + " |")
        parts.append("| --- |" + " --- |" * len(models))
        for measure in SHOWN[task]:
            if any(measure in model["measures"] for model in models.values()):
                parts.append(f"| {measure} | " + " | ".join(_cell(model, measure) for model in models.values()) + " |")
        parts.append("")
    first = kept["tables"][0]["order"][0]
    parts.append(
        f"95 % intervals over examples. * the difference to {first}, paired by example, excludes zero; every trained "
        "model is one run with one seed, so this says nothing about another seed.\n"
    )
    note = textwrap.fill(kept.get("note", ""), 120)
    parts += [*([note, ""] if note else []), _speed(kept), "", *_commands(kept)]
    parts.append(
        f"Differences, configurations, versions, data fingerprints: [results/{name}.json](results/{name}.json).\n"
    )
    return "\n".join(parts)


def _in_order(table: Mapping[str, Any]) -> dict[str, Any]:
    """The models as they were given: JSON's keys are sorted."""
    return {label: table["models"][label] for label in table["order"]}


def _cell(model: Mapping[str, Any], measure: str) -> str:
    found, difference = model["measures"].get(measure), model["difference"].get(measure)
    if found is None:
        return ""
    low, high = (difference or {}).get("low"), (difference or {}).get("high")
    return interval(found) + (" *" if low is not None and (low > 0 or high < 0) else "")


def _speed(kept: Mapping[str, Any]) -> str:
    lines = [
        "| evaluation | examples a second | generating | scoring references | measuring |",
        "| --- | --- | --- | --- | --- |",
    ]
    for table in kept["tables"]:
        for label, model in _in_order(table).items():
            parts = dict.fromkeys(("generate", "references", "measure"), 0.0)
            for phase, value in model["seconds"].items():
                if (part := phase.partition(": ")[2]) in parts:
                    parts[part] += value
            if total := sum(parts.values()):
                shares = " | ".join(f"{value / total:.0%}" for value in parts.values())
                lines.append(
                    f"| {table['about']['task']}, {label} | {table['about']['num_examples'] / total:.2f} | {shares} |"
                )
    return "\n".join(lines) if len(lines) > 2 else ""


def _commands(kept: Mapping[str, Any]) -> list[str]:
    commands = dict.fromkeys(model["command"] for table in kept["tables"] for model in _in_order(table).values())
    return [*(f"    {command}" for command in commands), ""]
