"""How a study's answer writes intervals and machines."""

from collections.abc import Mapping
from typing import Any

from gemma_align.evaluation.statistics import Interval


def interval_json(interval: Interval) -> dict[str, Any]:
    """A mean with its bounds."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def machine_of(environment: Mapping[str, Any]) -> str:
    """What a cell was made on, of its record's `environment`."""
    return f"{environment.get('machine')}, {environment.get('cores')} cores"
