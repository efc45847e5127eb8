"""Where a program's time goes: `python -m benchmarks --only NAME --profile` writes the table; no ratio is taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch


@contextmanager
def maybe_profile(job: dict[str, Any]) -> Iterator[None]:
    """Writes the operators with most time of their own to job["profile"], where that is given."""
    target = job.get("profile")
    if not target:
        yield
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        yield
    table = profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=50)
    Path(target).write_text(table)
