"""Keeps curves of best-of-n by a reward against a gold measure, and writes their tables into docs/rewards.md.

    python -m benchmarks.record_curve NAME CURVE.json [CURVE.json ...]

The files are what `gemma-align reward curve` wrote, with other rewards on the same samples.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.kept import KEPT, ROOT, interval, keep
from benchmarks.pages import write_block


def table(kept: Mapping[str, Any]) -> str:
    """A row for every reward and n."""
    first = kept["curves"][0]
    accuracy = first["gold"].get("accuracy")
    right = f", right in {100 * accuracy['mean']:.1f} % of held-out pairs" if accuracy else ""
    lines = [
        f"{first['task']}, {first['split']} split, {first['num_prompts']} prompts, "
        f"{first['samples']['num_samples']} samples each; gold: {first['gold']['name']}{right}:",
        "",
        "| best of n by | n | sqrt(KL) | reward | gold less that at n = 1 | violations, % | tokens |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for i, curve in enumerate(kept["curves"]):
        for name, found in curve["rewards"].items():
            if i and name != "hybrid":
                continue  # the encoder alone is the same whatever beta is
            label = f"{name}, beta {curve['reward']['beta']:g}" if name == "hybrid" else name
            for point in found["points"]:
                gain = "" if point["n"] == 1 else interval(point["gold_gain"])
                lines.append(
                    f"| {label} | {point['n']} | {point['distance']:.2f} | {point['proxy']['mean']:.2f} | {gain} | "
                    f"{100 * point['violations']['mean']:.1f} | {point['tokens']:.0f} |"
                )
    return "\n".join(lines) + "\n"


def write_page() -> None:
    """All curves that are kept, in the order of their names."""
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("curve_*.json"))]
    write_block(ROOT / "docs" / "rewards.md", "curves", "\n".join(table(found) for found in kept))


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    if arguments:
        name, *files = arguments
        curves = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
        if len({json.dumps(curve["samples"], sort_keys=True) for curve in curves}) != 1:
            raise SystemExit("the curves are of different samples: give such that were made into one --out")
        keep(f"curve_{name}", {"curves": curves})
    write_page()


if __name__ == "__main__":
    main(sys.argv[1:])
