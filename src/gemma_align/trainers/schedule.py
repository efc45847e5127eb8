"""Which examples an update sees and how large its step is: functions of the step, so resuming needs no memory."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np


def num_updates(num_examples: int, batch_size: int, num_epochs: int, max_steps: int | None) -> int:
    """Updates of a stage: `max_steps` where it is given, however many epochs that takes, else whole epochs.

    The last batch of an epoch may be smaller than the others; no example is left out.
    """
    return max_steps if max_steps is not None else math.ceil(num_examples / batch_size) * num_epochs


def batch_indices(step: int, num_examples: int, batch_size: int, seed: int) -> Sequence[int]:
    """The examples of update `step` (from 0): each epoch visits all of them once, in an order of its own."""
    steps_per_epoch = math.ceil(num_examples / batch_size)
    epoch, position = divmod(step, steps_per_epoch)
    order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_examples)
    return [int(i) for i in order[position * batch_size : (position + 1) * batch_size]]


def learning_rate_factor(
    step: int, total: int, warmup_fraction: float, schedule: Literal["cosine", "linear", "constant"]
) -> float:
    """The share of the peak learning rate that update `step` (from 0 to total - 1) takes.

    It climbs in equal parts over the warm-up, the first update already taking one part, and then falls along half a
    cosine (Loshchilov and Hutter 2017, eq. 5, without restarts) or a line that reaches 0 one update after the last.
    """
    warmup = math.ceil(total * warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(total - warmup, 1)
    return (1 + math.cos(math.pi * progress)) / 2 if schedule == "cosine" else 1 - progress
