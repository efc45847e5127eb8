"""What the models beside the tuned one are called in results. No torch."""

import re

UNTUNED = ("base", "few_shot")
"""The base model, and with worked examples before each prompt."""


def best_of_name(n: int) -> str:
    """Best-of-n sampling of the tuned model, or of the base where nothing was tuned."""
    return f"best_of_{n}"


def is_best_of(model: str) -> bool:
    """Whether a model of that name is one."""
    return re.fullmatch(r"best_of_\d+", model) is not None
