"""Imported by the process that cells are forked from, and nowhere else: everything a cell imports, once.

That process also tells how each cell ended, so it must outlive them: a signal to the whole group is meant for them.
"""

import signal

import torch.utils.tensorboard  # noqa: F401

import gemma_align.cli
import gemma_align.evaluation.clinical
import gemma_align.experiments.evaluation
import gemma_align.experiments.runner  # noqa: F401

signal.signal(signal.SIGTERM, signal.SIG_IGN)
