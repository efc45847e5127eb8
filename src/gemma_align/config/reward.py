"""The `reward` section of a configuration: score = alpha x learned encoder + beta x hard constraints."""

from gemma_align.config.sections import NotNegative, Section


class RewardConfig(Section):
    """score = alpha x learned encoder + beta x hard constraints. Read by stages that need a reward."""

    alpha: NotNegative = 1.0
    """Weight of the learned preference encoder; 0: no encoder is needed."""
    beta: NotNegative = 1.0
    """Weight of the constraints (toxicity, repetition, length)."""
