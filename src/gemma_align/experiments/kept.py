"""Evaluations of the models that are done, kept until all are: a run that is killed does none of them twice.

One file a model, replaced whole, with a checksum. What is read back is equal to what was written: JSON's numbers are
exact.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from gemma_align.evaluation.evaluate import Evaluation, Record
from gemma_align.evaluation.statistics import Interval
from gemma_align.experiments.files import write_text


def evaluated_once(folder: Path, model: str, measure: Callable[[], Evaluation]) -> Evaluation:
    """The evaluation of `model` that lies in `folder`, or what `measure` gives, which lies there then.

    Args:
        folder: made where there is none. It must belong to one configuration and one set of weights.
        model: its name, as in `Evaluation.model`.
        measure: does the work.
    """
    path = folder / f"{model}.json"
    found = _read(path)
    if found is None:
        found = measure()
        folder.mkdir(exist_ok=True)
        text = json.dumps(asdict(found))
        write_text(path, f"{_sum(text)}\n{text}")
    return found


def _read(path: Path) -> Evaluation | None:
    """None where there is none, and where it is damaged: then it is measured again."""
    try:
        checksum, _, text = path.read_text(encoding="utf-8").partition("\n")
        return _evaluation(json.loads(text)) if checksum == _sum(text) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _sum(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _evaluation(fields: Mapping[str, Any]) -> Evaluation:
    records = tuple(Record(**{**record, "samples": tuple(record["samples"])}) for record in fields["records"])
    measures = {name: Interval(**interval) for name, interval in fields["measures"].items()}
    return Evaluation(**{**fields, "records": records, "measures": measures})
