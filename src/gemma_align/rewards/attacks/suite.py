"""All attacks against all rewards: honest text, exploit, and what each reward says of both.

An exploit beats an honest text where its score is higher by more than `TIE`, which covers the rounding of scores
computed in other batches. The exploit margin of a family is the share of its attempts that beat.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gemma_align.rewards.attacks.families import FAMILIES, made
from gemma_align.rewards.attacks.search import (
    Budget,
    best_of,
    greedy,
    random_words,
    top_words,
    totals,
    vocabulary,
)
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.types import Answer, Example, RewardModel

TIE = 1e-4
ENCODER, CONSTRAINTS, HYBRID = "encoder alone", "constraints alone", "hybrid"
INSERTED, WORDS, SAMPLED = "searched: words into the honest text", "searched: words alone", "searched: best of samples"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One exploit of one honest text, before one reward."""

    family: str
    degenerate: bool
    example: Example
    honest: str
    exploit: Answer
    honest_score: float
    score: float

    @property
    def gain(self) -> float:
        """How much higher the exploit scores."""
        return self.score - self.honest_score

    @property
    def beats(self) -> bool:
        """See the module."""
        return self.gain > TIE

    @property
    def ties(self) -> bool:
        """Neither beats the other."""
        return abs(self.gain) <= TIE


@dataclass(frozen=True, slots=True)
class Attacked:
    """One reward under all attacks.

    honest_scores  of the honest texts, in the examples' order
    words          its top words; empty for the constraints alone, which like no word
    """

    honest_scores: tuple[float, ...]
    attempts: tuple[Attempt, ...]
    words: tuple[str, ...]


def variants(hybrid: HybridReward) -> dict[str, RewardModel]:
    """The encoder alone, the constraints alone and the whole; of parts that aren't in use nothing.

    The encoder keeps its way of combining heads (`pessimistic`, `shaped`). Without an encoder, a programmatic reward
    and own terms the whole is the constraints alone, and isn't told twice.
    """
    settings = hybrid.settings
    bare = {"programmatic": 0.0, "terms": ()}
    found: dict[str, RewardModel] = {}
    if hybrid.encoder is not None:
        combine = "weighted" if settings.combine == "lagrangian" else settings.combine
        alone = settings.model_copy(update={**bare, "beta": 0.0, "combine": combine})
        found[ENCODER] = HybridReward(hybrid.task, alone, hybrid.encoder)
    if settings.beta:
        alone = settings.model_copy(update={**bare, "alpha": 0.0, "combine": "weighted"})
        found[CONSTRAINTS] = HybridReward(hybrid.task, alone, None, reference=hybrid.reference)
    if hybrid.encoder is not None or hybrid.programmatic is not None or hybrid.terms or not found:
        found[HYBRID] = hybrid
    return found


def attack(
    rewards: Mapping[str, RewardModel],
    examples: Sequence[Example],
    honest: Sequence[str],
    budget: Budget,
    seed: int,
    samples: Sequence[Sequence[Answer]] | None = None,
) -> dict[str, Attacked]:
    """Every reward under every family, and under search where it is more than the constraints.

    Keywords are each reward's own; the constraints alone get those of the first reward that has some. The constraints
    alone are not searched: an honest text without a violation has their highest score already.

    Args:
        rewards: by name, as `variants` gives them.
        examples: what is answered, each with its own id.
        honest: the honest answer to each, at least one.
        budget: of every search.
        seed: of everything random.
        samples: a policy's answers to each example, for best-of-n; None: left out.
    """
    assert len(examples) == len(honest) > 0, "one honest text an example"
    candidates = vocabulary(honest, budget.num_candidates)
    words = {
        name: top_words(reward, examples, honest, candidates, budget)
        for name, reward in rewards.items()
        if name != CONSTRAINTS
    }
    shared = next(iter(words.values()), candidates[: budget.num_words])
    found = {}
    for name, reward in rewards.items():
        scores = totals(reward, examples, [Answer(text) for text in honest])
        exploits = _systematic(examples, honest, words.get(name, shared), seed)
        if name != CONSTRAINTS:
            insertable = tuple(dict.fromkeys((*words[name], *candidates)))
            starts = [random_words(example, insertable, seed) for example in examples]
            for family, begun, replace in ((INSERTED, honest, False), (WORDS, starts, True)):
                texts = greedy(reward, examples, begun, insertable, budget, seed, replace=replace)
                exploits += [(family, False, i, Answer(text)) for i, text in enumerate(texts)]
        if samples is not None:
            chosen = best_of(reward, examples, samples)
            exploits += [(SAMPLED, False, i, answer) for i, (answer, _) in enumerate(chosen)]
        after = totals(reward, [examples[i] for _, _, i, _ in exploits], [answer for *_, answer in exploits])
        attempts = tuple(
            Attempt(family, degenerate, examples[i], honest[i], answer, scores[i], score)
            for (family, degenerate, i, answer), score in zip(exploits, after, strict=True)
        )
        found[name] = Attacked(tuple(scores), attempts, words.get(name, ()))
    return found


def _systematic(
    examples: Sequence[Example], honest: Sequence[str], words: Sequence[str], seed: int
) -> list[tuple[str, bool, int, Answer]]:
    """Family, whether it is degenerate, number of the example, exploit; without exploits equal to the honest text."""
    found = []
    for family in FAMILIES:
        for i, (example, text) in enumerate(zip(examples, honest, strict=True)):
            answer = made(family, example, text, honest, words, seed)
            if answer is not None and (answer.text != text or not answer.finished):
                found.append((family.name, family.degenerate, i, answer))
    return found
