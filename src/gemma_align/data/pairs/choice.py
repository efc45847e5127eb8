"""Which of a prompt's candidates is chosen, and which are rejected.

The chosen text is the reference, or the best-scored of reference and finished samples. Rejected are corruptions of the
chosen text and the worst-scored samples, the configured sources taken in turns: a prompt that gets fewer pairs than
there are sources starts with another one than its neighbours, so that every source gets its share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gemma_align.data.splits import hashed
from gemma_align.types import Example

Source = Literal["corruption", "samples"]
SOURCES: tuple[Source, ...] = ("corruption", "samples")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A response that may be chosen or rejected.

    strategy  "reference", "sample" or "corruption:dose" and the like
    score     of the scorer, never of evaluation's measures
    finished  it ended by itself; one that didn't is never chosen
    """

    text: str
    strategy: str
    score: float
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses to one prompt, the better one first."""

    example: Example
    chosen: Candidate
    rejected: Candidate
    number: int  # of the prompt's pairs, from 0


def choose(reference: Candidate | None, samples: Sequence[Candidate], *, best: bool) -> Candidate | None:
    """The reference; or with `best` the best-scored of it and the finished samples (of equals a sample, which is the
    policy's own). None where there is nothing to choose."""
    if not best:
        return reference
    finished = [sample for sample in samples if sample.finished and sample.text.strip()]
    return max([*finished, *([reference] if reference is not None else [])], key=lambda c: c.score, default=None)


def worst(samples: Sequence[Candidate], chosen: Candidate) -> list[Candidate]:
    """Samples that score lower than the chosen text, the worst first, each text once. Of equals the earlier."""
    distinct = {sample.text.strip(): sample for sample in reversed(samples)}
    lower = [sample for sample in distinct.values() if sample.score < chosen.score and sample.text.strip()]
    return sorted(lower, key=lambda sample: (sample.score, samples.index(sample)))


def deal(
    sources: Sequence[Source], rejected: Mapping[Source, Sequence[Candidate]], example_id: str, num: int, seed: int
) -> list[Candidate]:
    """At most `num` of the rejected candidates, sources taken in turns; where one has no more, the others go on."""
    shift = hashed(seed, "deal", example_id) % len(sources)
    left = {source: list(rejected.get(source, ())) for source in (*sources[shift:], *sources[:shift])}
    dealt: list[Candidate] = []
    while len(dealt) < num and any(left.values()):
        for queue in left.values():
            if queue and len(dealt) < num:
                dealt.append(queue.pop(0))
    return dealt


def pair_example(pair: Pair) -> Example:
    """The pair as an example of the project's own schema."""
    name = f"{pair.example.id}/pair{pair.number}"
    return replace(pair.example, id=name, response=pair.chosen.text, rejected=pair.rejected.text)
