"""What all tests share: shapes checked at run time, and the places of real weights and real data, if there are any."""

import os
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# jaxtyping's annotations of the maths are enforced in tests; at run time they cost nothing because they do nothing.
install_import_hook("gemma_align.core", "beartype.beartype")

# Tiny models gain nothing from threads, and on a busy machine threads that wait for each other cost minutes.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets that tests read but never copy."""
    folder = Path(os.environ.get("GEMMA_ALIGN_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set GEMMA_ALIGN_DATA to a folder that has it")
    return folder
