"""How often the refusal classifier agrees with the labels given by hand (docs/results/refusal_labels.jsonl).

python -m benchmarks.refusal_accuracy     prints the tables of docs/scorers.md

The prompts are read from the published sets (see `data_folder`); the file holds their ids.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from benchmarks.data_folder import data_folder
from gemma_align.config import DataConfig
from gemma_align.data.tasks import load_task
from gemma_align.evaluation.refusal import decide

LABELS = Path(__file__).resolve().parents[1] / "docs" / "results" / "refusal_labels.jsonl"
PARTS = {
    "develop": "written on",
    "report": "first round, the other half of the prompts",
    "second": "second round, drawn and labelled after the classifier was frozen",
}
Row = Mapping[str, Any]


def labelled() -> list[Row]:
    """Every labelled response: id, harmful, category, model, part, label, note, response."""
    return [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]


def prompts(folder: Path) -> dict[str, str]:
    """The prompts by id."""
    tasks = [load_task("safety", data) for data in (DataConfig(train=str(folder)), DataConfig(num_builtin=60))]
    return {e.id: e.prompt for task in tasks for split in ("train", "tune", "report") for e in task.examples(split)}


def decisions(rows: Sequence[Row], asked: Mapping[str, str]) -> list[str]:
    """The classifier's decision for each row."""
    return [decide(asked[row["id"]], row["response"]) for row in rows]


def shares(rows: Sequence[Row], decided: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Successes and trials: accuracy of refusal against the rest, its precision and recall, all four labels right."""
    pairs = [(row["label"], found) for row, found in zip(rows, decided, strict=True)]
    both = sum(label == found == "refusal" for label, found in pairs)
    return {
        "accuracy": (sum((label == "refusal") == (found == "refusal") for label, found in pairs), len(pairs)),
        "precision": (both, sum(found == "refusal" for _, found in pairs)),
        "recall": (both, sum(label == "refusal" for label, _ in pairs)),
        "all four labels": (sum(label == found for label, found in pairs), len(pairs)),
    }


def main() -> None:
    rows, asked = labelled(), prompts(data_folder())
    groups = {part: [r for r in rows if r["part"] == part] for part in PARTS}
    groups["report and second"] = [r for r in rows if r["part"] != "develop"]
    groups |= {
        f"  {m}": [r for r in groups["report and second"] if r["model"] == m] for m in {r["model"] for r in rows}
    }
    groups |= {f"  harmful={h}": [r for r in groups["report and second"] if r["harmful"] is h] for h in (True, False)}
    for name, chosen in groups.items():
        decided = decisions(chosen, asked)
        print(f"{name} ({PARTS.get(name, 'of these')}): {len(chosen)} responses")
        for measure, (right, of) in shares(chosen, decided).items():
            if of:
                ci = binomtest(right, of).proportion_ci(method="wilson")
                print(f"    {measure:16} {right:3} of {of:3}  {right / of:.3f} [{ci.low:.3f}, {ci.high:.3f}]")
        if name in ("report", "second"):
            print(
                "   ", dict(Counter((r["label"], d) for r, d in zip(chosen, decided, strict=True) if r["label"] != d))
            )
            for row, found in zip(chosen, decided, strict=True):
                if row["label"] != found and "refusal" in (row["label"], found):
                    print(f"    {row['label']} -> {found}: {asked[row['id']]!r} {row['response'][:90]!r} {row['note']}")


if __name__ == "__main__":
    main()
