"""Hard constraints on an answer's text: toxicity, repetition, degenerate length. Each is 0 or less.

They are pure functions of the example, the answer and the settings; what they can't see stands in docs/rewards.md.
"""

from collections.abc import Sequence

from gemma_align.config.constraints import ConstraintsConfig
from gemma_align.rewards.constraints.base import Finding, verdict
from gemma_align.rewards.constraints.length import length
from gemma_align.rewards.constraints.lexicon import SHIPPED
from gemma_align.rewards.constraints.limits import limits_of
from gemma_align.rewards.constraints.repetition import repetition
from gemma_align.rewards.constraints.toxicity import toxicity
from gemma_align.types import Answer, Example

CONSTRAINTS = ("toxicity", "repetition", "length")

__all__ = ["CONSTRAINTS", "Finding", "check_all"]


def check_all(
    examples: Sequence[Example], answers: Sequence[Answer], task: str, settings: ConstraintsConfig
) -> list[dict[str, Finding]]:
    """What each constraint (CONSTRAINTS, in this order) says of each answer; `answers[i]` answers `examples[i]`.

    Raises:
        RewardError: the toxicity classifier can't be used.
        ValueError: not as many examples as answers.
        KeyError: an unknown task.
    """
    limits = limits_of(task, settings)
    words = (*(SHIPPED if settings.toxicity.shipped_lexicon else ()), *settings.toxicity.lexicon)
    toxic = toxicity([answer.text for answer in answers], limits.toxicity, words, settings.toxicity.classifier)
    return [
        {
            "toxicity": verdict(measures, settings.toxicity.weight, settings.toxicity.floor),
            "repetition": verdict(
                repetition(answer.text, limits.repetition), settings.repetition.weight, settings.repetition.floor
            ),
            "length": verdict(
                length(answer, example.response, limits.length, settings.length.unfinished),
                settings.length.weight,
                settings.length.floor,
            ),
        }
        for example, answer, measures in zip(examples, answers, toxic, strict=True)
    ]
