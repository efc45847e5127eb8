"""What the default encoder is worth on the builtin pairs of each task, and the table of docs/rewards.md.

    python -m benchmarks.builtin_pairs [--num 2000] [--dry]

Safety's pairs are builtin; notes and programs get one corruption of each reference (`gemma-align pairs make`), of the
train split for fitting and of the report split for the account. Everything goes through the command line.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.kept import KEPT, ROOT, keep
from benchmarks.pages import write_block
from benchmarks.record_folds import accuracy_cells

NAME = "builtin_pairs"
CONFIG = "configs/reward_hybrid_270m.yml"
PARTS = ("train", "report")


def gemma_align(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "gemma_align", *arguments], cwd=ROOT, check=True)


def fitted(task: str, num: int, work: Path) -> dict[str, Any]:
    """The account of an encoder that was fitted to `num` examples' pairs and held against as many others'."""
    data = [f"data.num_builtin={num}"]
    if task != "safety":
        places = {split: work / f"{task}-{split}" for split in PARTS}
        for split, place in places.items():
            asked = [f"task={task}", *data, f"pairs.split={split}", "pairs.sources=[corruption]"]
            gemma_align("pairs", "make", "--config", CONFIG, *asked, "--out", str(place))
        data = [f"data.{split}={place / 'pairs.jsonl'}" for split, place in places.items()]
    folder = work / f"{task}-encoder"
    gemma_align("reward", "fit", "--config", CONFIG, f"task={task}", *data, f"output_dir={folder}")
    record = json.loads((folder / "reward.json").read_text(encoding="utf-8"))
    return {name: record[name] for name in ("task", "seed", "encoder", "dev", "held_out")} | {"num_examples": num}


def table(kept: list[dict[str, Any]]) -> str:
    """A row a task."""
    lines = [
        "| task | examples | held-out pairs | accuracy | less bag of words | less shorter wins |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {found['task']} | {found['num_examples']:,} | {accuracy_cells(found['held_out'])} |" for found in kept
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=2000, help="builtin examples of each split (default 2000)")
    parser.add_argument("--dry", action="store_true", help="print the table, keep nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="builtin-pairs-") as work:
        found = [fitted(task, args.num, Path(work)) for task in ("clinical", "safety", "code")]
    print(table(found))
    if not args.dry:
        keep(NAME, found)
        kept = json.loads((KEPT / f"{NAME}.json").read_text(encoding="utf-8"))
        write_block(ROOT / "docs" / "rewards.md", "builtin-pairs", table(kept))


if __name__ == "__main__":
    main()
