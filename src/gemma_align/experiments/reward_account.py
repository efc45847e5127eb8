"""What is said of a fitted encoder: accuracy on held-out pairs with intervals, beside two floors, and calibration.

Accuracy is the share of pairs in which the chosen response scores higher; equal scores count half. Differences of
accuracies are paired by pair. Intervals are those of `evaluation/statistics.py`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gemma_align.evaluation.statistics import Interval, mean_interval, paired_interval
from gemma_align.evaluation.table import shown
from gemma_align.rewards.fitting.calibration import expected_calibration_error, reliability, right
from gemma_align.rewards.fitting.fit import pair_loss

Array = NDArray[np.float64]

ENCODER, BAG_OF_WORDS, SHORTER = "encoder", "bag of words", "shorter wins"


def account(differences: Mapping[str, Array], slope: float, confidence: float) -> dict[str, Any]:
    """JSON values from the score differences (chosen - rejected) of the encoder and the floors, by name.

    Args:
        differences: `ENCODER` and any floors, over the same pairs in the same order.
        slope: what turns a difference of the encoder into a probability.
        confidence: of the intervals.
    """
    encoder = differences[ENCODER]
    bins = reliability(encoder, slope)
    ours = right(encoder)
    return {
        "num_pairs": len(encoder),
        "confidence": confidence,
        "accuracy": {name: asdict(mean_interval(right(d), confidence)) for name, d in differences.items()},
        "encoder_minus": {
            name: asdict(paired_interval(ours, right(d), confidence))
            for name, d in differences.items()
            if name != ENCODER
        },
        "loss": pair_loss(slope * encoder),
        "calibration": {"error": expected_calibration_error(bins), "bins": [asdict(b) for b in bins]},
    }


def account_table(title: str, values: Mapping[str, Any]) -> RenderableType:
    """For people: accuracies with intervals, the encoder's lead, and the calibration curve."""
    note = f"{title}: {values['num_pairs']:,} pairs, {100 * values['confidence']:g} % intervals in brackets"
    accuracies = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in ("", "accuracy", "encoder minus it", ""):
        accuracies.add_column(column, no_wrap=True)
    for name, accuracy in values["accuracy"].items():
        lead = values["encoder_minus"].get(name)
        interval = None if lead is None else Interval(**lead)
        accuracies.add_row(
            name,
            Text(shown(Interval(**accuracy))),
            Text("" if interval is None else shown(interval, sign="+")),
            "*" if interval is not None and interval.excludes_zero else "",
        )
    curve = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for column in ("probability", "pairs", "predicted", "right"):
        curve.add_column(column, justify="right", no_wrap=True)
    for b in values["calibration"]["bins"]:
        curve.add_row(
            f"{b['low']:.2f}-{b['high']:.2f}", f"{b['num_pairs']:,}", f"{b['predicted']:.3f}", f"{b['observed']:.3f}"
        )
    calibration = (
        f"loss {values['loss']:.3f} nats a pair (0.693 knows nothing); "
        f"calibration error {values['calibration']['error']:.3f}"
    )
    return Group(Text(note), Text(), accuracies, Text(), curve, Text(calibration))
