"""Keeps the encoder's out-of-fold accuracy, and writes the table of docs/rewards.md.

python -m benchmarks.record_folds FOLDER     FOLDER is where `python -m benchmarks.reward_encoder` wrote its files
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.kept import KEPT, ROOT, interval, keep
from benchmarks.pages import write_block
from gemma_align.experiments.reward_account import BAG_OF_WORDS, ENCODER, SHORTER

NAME = "reward_encoder"


def digest(folder: Path) -> list[dict[str, Any]]:
    """Of each backbone and number of training pairs, over all folds."""
    found = []
    for path in sorted(folder.glob("*_training_pairs-seed*.json")):
        name, seed = path.stem.split("-seed")
        backbone, _, size = name.removesuffix("_training_pairs").partition("-")
        values = json.loads(path.read_text(encoding="utf-8"))
        found.append({"backbone": backbone, "size": size, "seed": int(seed), **values})
    return found


def table(kept: list[Mapping[str, Any]]) -> str:
    """A row a backbone and number of training pairs."""
    lines = [
        "| backbone | trained on | pairs | accuracy | less bag of words | less shorter wins | calibration error |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for found in kept:
        lead = found["encoder_minus"]
        lines.append(
            f"| {found['backbone']} | {found['size']} | {found['num_pairs']:,} | "
            f"{interval(found['accuracy'][ENCODER])} | {interval(lead[BAG_OF_WORDS])} | {interval(lead[SHORTER])} | "
            f"{found['calibration']['error']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    if arguments:
        keep(NAME, {"folds": digest(Path(arguments[0]))})
    kept = json.loads((KEPT / f"{NAME}.json").read_text(encoding="utf-8"))
    write_block(ROOT / "docs" / "rewards.md", "folds", table(kept["folds"]))


if __name__ == "__main__":
    main(sys.argv[1:])
