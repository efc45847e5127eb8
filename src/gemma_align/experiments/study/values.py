"""How a study's answer writes intervals and machines."""

from collections.abc import Mapping
from typing import Any

from gemma_align.evaluation.statistics import Interval


def interval_json(interval: Interval) -> dict[str, Any]:
    """A mean with its bounds, and of how many examples (or runs, of a claim about learning) it is."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}


def machine_of(environment: Mapping[str, Any]) -> str:
    """What a cell was made on, of its record's `environment`."""
    return f"{environment.get('machine')}, {environment.get('cores')} cores"


def p_text(p: float) -> str:
    """Such as 0.012."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"
