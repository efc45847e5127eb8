"""Where the public data sets lie that programs read and that are never copied."""

import os
from pathlib import Path


def data_folder() -> Path:
    """What GEMMA_ALIGN_DATA names, or ../shared/data beside the project; ends the program where there is none."""
    folder = Path(os.environ.get("GEMMA_ALIGN_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit(f"no data at {folder}: set GEMMA_ALIGN_DATA to a folder that holds the published sets")
    return folder
