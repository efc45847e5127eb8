"""What a constraint says of an answer, and how measures become a penalty.

A measure m with threshold t and worst value w is violated when it reaches t (or falls to it, where w < t). Then

    severity = 1/2 + 1/2 clip((m - t) / (w - t), 0, 1)            in [1/2, 1], and 0 without a violation
    penalty  = -weight x the highest severity of the constraint's measures
    cap      = floor + penalty, for the measures that are `hard`

The step of 1/2 makes a violation cost something at once; the slope makes less of it better. The cap has the penalty in
it, so that of two violating answers the better one still gets more where the cap decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemma_align.rewards.constraints.units import Span


@dataclass(frozen=True, slots=True)
class Measure:
    """One number about an answer.

    severity  0 where it isn't violated, else 1/2 to 1 (an unfinished answer has the settings')
    spans     where in the text, if it can be said
    reason    for people; empty where it isn't violated
    hard      the constraint's floor applies to it
    """

    name: str
    amount: float
    severity: float
    spans: tuple[Span, ...] = ()
    reason: str = ""
    hard: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What a constraint says of one answer.

    penalty  0 or less; 0 where it didn't fire
    amount   of `measure`: the violated one of the highest severity (of the hard ones, if there are any), or the
             constraint's first where none is
    spans    characters [start, end) of the answer, of all violated measures, in order and not overlapping
    reason   such as "line 3 repeats 4 times"; all violated measures, the worst first
    floor    where it isn't None, the whole reward is at most this, whatever its other parts say
    """

    penalty: float
    amount: float
    fired: bool
    measure: str
    spans: tuple[Span, ...] = ()
    reason: str = ""
    floor: float | None = None


def severity(amount: float, threshold: float, worst: float) -> float:
    """See the formula above; `worst` below `threshold` means that small amounts are the bad ones."""
    reached = amount >= threshold if worst >= threshold else amount <= threshold
    if not reached:
        return 0.0
    share = (amount - threshold) / (worst - threshold) if worst != threshold else 1.0
    return 0.5 + 0.5 * min(max(share, 0.0), 1.0)


def verdict(measures: Sequence[Measure], weight: float, floor: float | None) -> Finding:
    """The finding of a constraint with these measures (at least one)."""
    violated = sorted((m for m in measures if m.severity > 0), key=lambda m: (not m.hard, -m.severity))  # stable
    if not violated:
        return Finding(0.0, measures[0].amount, False, measures[0].name)
    penalty = -weight * max(m.severity for m in violated) if weight else 0.0
    hard = [m.severity for m in violated if m.hard]
    return Finding(
        penalty=penalty,
        amount=violated[0].amount,
        fired=True,
        measure=violated[0].name,
        spans=merged(span for m in violated for span in m.spans),
        reason="; ".join(m.reason for m in violated),
        floor=floor - weight * max(hard) if floor is not None and hard else None,
    )


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """In order, with overlapping and touching ones as one; empty ones dropped."""
    found: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)
