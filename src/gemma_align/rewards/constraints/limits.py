"""The limits of every constraint for every task, as data, and the user's settings on top of them.

Chosen from the reference responses of the train and tune splits (MTS-Dialog, HH-RLHF harmless, MBPP, CoNaLa and the
builtin sets), above what 99.8 % of them reach; docs/rewards.md gives the percentiles. The report splits
weren't looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel

from gemma_align.config.constraints import ConstraintsConfig


@dataclass(frozen=True, slots=True)
class ToxicityLimits:
    """See `config.constraints.ToxicityConfig`, also for what the fields of the next two mean."""

    threshold: float


@dataclass(frozen=True, slots=True)
class RepetitionLimits:
    """`blind`: numbers count as one and the same word in loops and lines, so that numbering hides nothing."""

    loop_words: int
    long_loop_words: int
    same_lines: int
    ngram_share: float
    char_run: int
    sign_run: int
    redundancy: float
    blind: bool


@dataclass(frozen=True, slots=True)
class LengthLimits:
    """Numbers of words, except for the last three."""

    min_words: int
    max_words: int
    min_of_reference: float
    max_of_reference: float
    free_words: int
    max_blanks: int
    max_blank_share: float
    max_line_breaks: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one task."""

    toxicity: ToxicityLimits
    repetition: RepetitionLimits
    length: LengthLimits


_PROSE = RepetitionLimits(
    loop_words=4,
    long_loop_words=8,
    same_lines=3,
    ngram_share=0.2,
    char_run=8,
    sign_run=24,
    redundancy=0.66,
    blind=True,
)

TASK_LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "clinical": Limits(
            ToxicityLimits(threshold=0.95),
            _PROSE,
            LengthLimits(
                min_words=1,  # "None." is a whole section of a note
                max_words=600,
                min_of_reference=0.2,
                max_of_reference=5.0,
                free_words=60,
                max_blanks=24,
                max_blank_share=0.4,
                max_line_breaks=6,
            ),
        ),
        "safety": Limits(
            ToxicityLimits(threshold=0.98),
            _PROSE,
            LengthLimits(
                min_words=2,
                max_words=300,
                min_of_reference=0.0,  # a short refusal is as good as a long one
                max_of_reference=20.0,
                free_words=200,
                max_blanks=24,
                max_blank_share=0.4,
                max_line_breaks=6,
            ),
        ),
        "code": Limits(
            ToxicityLimits(threshold=0.95),
            RepetitionLimits(  # programs repeat themselves: lists of zeros, similar lines
                loop_words=10,
                long_loop_words=16,
                same_lines=5,
                ngram_share=0.45,
                char_run=16,
                sign_run=40,
                redundancy=0.75,
                blind=False,
            ),
            LengthLimits(
                min_words=1,
                max_words=250,
                min_of_reference=0.2,
                max_of_reference=6.0,
                free_words=60,
                max_blanks=80,
                max_blank_share=0.7,
                max_line_breaks=6,
            ),
        ),
    }
)

T = TypeVar("T", ToxicityLimits, RepetitionLimits, LengthLimits)


def limits_of(task: str, settings: ConstraintsConfig) -> Limits:
    """The task's limits, with the settings that aren't null in their place. KeyError for an unknown task."""
    own = TASK_LIMITS[task]
    return Limits(
        _overridden(own.toxicity, settings.toxicity),
        _overridden(own.repetition, settings.repetition),
        _overridden(own.length, settings.length),
    )


def _overridden(limits: T, section: BaseModel) -> T:
    given = {field.name: getattr(section, field.name, None) for field in fields(limits)}
    return replace(limits, **{name: value for name, value in given.items() if value is not None})
