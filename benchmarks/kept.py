"""Where results are kept, and how they are written: without the folders of the machine that measured them."""

import json
import os
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs" / "results"


def keep(name: str, found: Any) -> None:
    """Writes docs/results/NAME.json."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.json").write_text(portable(json.dumps(found, indent=1, sort_keys=True)) + "\n")


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
