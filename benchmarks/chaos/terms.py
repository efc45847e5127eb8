"""A reward term of a user's own, which the trials break."""

from gemma_align.types import Answer, Example


def letters(example: Example, answer: Answer) -> float:
    return 0.01 * len(answer.text)
