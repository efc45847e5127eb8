"""Keeps the encoder's out-of-fold accuracy, and writes the table of docs/rewards.md.

python -m benchmarks.record_folds FOLDER     FOLDER is where `python -m benchmarks.reward_encoder` wrote its files

What was kept of other backbones and other numbers of training pairs stays.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.kept import KEPT, ROOT, interval, keep
from benchmarks.pages import write_block
from benchmarks.reward_encoder import CONSTRAINED, FLUENT
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


def merged(kept: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By backbone and size, the largest first; a new one in the place of an old one of the same name."""
    by_name = {(found["backbone"], found["size"], found["seed"]): found for found in (*kept, *new)}
    return sorted(by_name.values(), key=lambda found: (found["backbone"], -_number(found["size"]), found["seed"]))


def _number(size: str) -> float:
    return float("inf") if size == "all" else float(size)


def table(kept: list[Mapping[str, Any]]) -> str:
    """A row a backbone and number of training pairs."""
    lines = [
        "| backbone | trained on | pairs | accuracy | less bag of words | less shorter wins | calibration error |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {found['backbone']} | {found['size']} | {accuracy_cells(found)} | {found['calibration']['error']:.3f} |"
        for found in kept
    ]
    return "\n".join(lines) + "\n"


def accuracy_cells(account: Mapping[str, Any]) -> str:
    """Pairs, the encoder's accuracy, and its lead over both floors: cells of a table's row."""
    lead = account["encoder_minus"]
    intervals = (account["accuracy"][ENCODER], lead[BAG_OF_WORDS], lead[SHORTER])
    return " | ".join([f"{account['num_pairs']:,}", *map(interval, intervals)])


def hybrid_table(kept: list[Mapping[str, Any]]) -> str:
    """What the constraints cost in accuracy: the hybrid reward beside its own encoder."""
    lines = ["| backbone | reward | accuracy | encoder less it |", "| --- | --- | --- | --- |"]
    for found in kept:
        for name in (CONSTRAINED, FLUENT):
            if name in found["accuracy"]:
                accuracy, lead = found["accuracy"][name], found["encoder_minus"][name]
                lines.append(f"| {found['backbone']} | {name} | {interval(accuracy)} | {interval(lead)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    if arguments:
        keep(NAME, {"folds": merged(_kept(), digest(Path(arguments[0])))})
    kept = _kept()
    write_block(ROOT / "docs" / "rewards.md", "folds", table(kept))
    write_block(ROOT / "docs" / "rewards.md", "hybrid-folds", hybrid_table(kept))


def _kept() -> list[dict[str, Any]]:
    return list(json.loads((KEPT / f"{NAME}.json").read_text(encoding="utf-8"))["folds"])


if __name__ == "__main__":
    main(sys.argv[1:])
