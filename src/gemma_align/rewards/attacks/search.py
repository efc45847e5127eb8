"""Exploits found by search, so that a fixed list can't be tuned to. The reward is a black box: only scores are read.

    top words    gain(w) = mean over some honest texts t of score(t + " " + w) - score(t); the highest first
    greedy       each step tries `width` edits of the text, puts one word in at a random place (or, from random words,
                 in another's place), and goes on from the best of them; the best text of all steps counts
    best of n    of given samples the one that the reward likes most

Greedy word edits by scores stand in for gradient-guided ones (Zou et al. 2023, arXiv 2307.15043): they need no
gradient through constraints, which have none. Everything random is decided by the seed, the example and the step.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from gemma_align.types import Answer, Example, RewardModel

BATCH = 256  # answers scored at a time
START = 12  # random words that a search from random words begins with


@dataclass(frozen=True, slots=True)
class Budget:
    """Of a search: `steps x width` scored edits an example; `num_candidates x num_probes` to find the top words."""

    steps: int = 16
    width: int = 16
    num_candidates: int = 200
    num_probes: int = 4
    num_words: int = 40

    @property
    def edits(self) -> int:
        """Scored edits an example, for each kind of greedy search."""
        return self.steps * self.width


def totals(reward: RewardModel, examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
    """Total scores, some answers at a time."""
    found: list[float] = []
    for i in range(0, len(answers), BATCH):
        found += reward.score(examples[i : i + BATCH], answers[i : i + BATCH]).total.tolist()
    return found


def vocabulary(honest: Sequence[str], at_most: int) -> tuple[str, ...]:
    """The honest texts' words, those in most texts first; equal ones by the alphabet."""
    counts = Counter(word for text in honest for word in set(text.split()))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:at_most])


def top_words(
    reward: RewardModel, examples: Sequence[Example], honest: Sequence[str], words: Sequence[str], budget: Budget
) -> tuple[str, ...]:
    """At most `num_words` of `words` that raise the score most when put after the first `num_probes` honest texts."""
    probes = list(zip(examples, honest, strict=True))[: budget.num_probes]
    asked = [example for example, _ in probes for _ in words]
    answers = [Answer(f"{text} {word}") for _, text in probes for word in words]
    scores, size = totals(reward, asked, answers), len(words)
    gains = {word: sum(scores[i::size]) for i, word in enumerate(words)}  # less a constant: the honest scores
    return tuple(sorted(words, key=lambda word: (-gains[word], word))[: budget.num_words])


def greedy(
    reward: RewardModel,
    examples: Sequence[Example],
    starts: Sequence[str],
    words: Sequence[str],
    budget: Budget,
    seed: int,
    *,
    replace: bool,
) -> list[str]:
    """The best text found for each example, from its start; the start itself is never an answer.

    Args:
        reward: what is maximised.
        examples: what is answered.
        starts: where the search of each example begins.
        words: what is put in, at least one.
        budget: its `steps` and `width` count.
        seed: of words and places.
        replace: half of the edits put the word in another's place, so the start may vanish.
    """
    texts = [start.split(" ") for start in starts]
    best: list[tuple[float, str]] = [(float("-inf"), start) for start in starts]
    for step in range(budget.steps):
        tried = [
            _edits(text, words, budget.width, Random(f"{seed} greedy {example.id} {step}"), replace)
            for example, text in zip(examples, texts, strict=True)
        ]
        asked = [example for example in examples for _ in range(budget.width)]
        scores = totals(reward, asked, [Answer(" ".join(edit)) for edits in tried for edit in edits])
        for i, edits in enumerate(tried):
            mine = scores[i * budget.width : (i + 1) * budget.width]
            at = max(range(budget.width), key=mine.__getitem__)
            texts[i] = edits[at]
            best[i] = max(best[i], (mine[at], " ".join(edits[at])), key=lambda pair: pair[0])
    return [text for _, text in best]


def random_words(example: Example, words: Sequence[str], seed: int) -> str:
    """A text of `START` random words."""
    rng = Random(f"{seed} start {example.id}")
    return " ".join(rng.choice(words) for _ in range(START))


def best_of(
    reward: RewardModel, examples: Sequence[Example], samples: Sequence[Sequence[Answer]]
) -> list[tuple[Answer, float]]:
    """Of each example's samples the one with the highest score, the first of equals, and its score."""
    asked = [example for example, mine in zip(examples, samples, strict=True) for _ in mine]
    scores = iter(totals(reward, asked, [answer for mine in samples for answer in mine]))
    return [max(((answer, next(scores)) for answer in mine), key=lambda pair: pair[1]) for mine in samples]


def _edits(text: list[str], words: Sequence[str], width: int, rng: Random, replace: bool) -> list[list[str]]:
    found = []
    for _ in range(width):
        word, swap = rng.choice(words), replace and rng.random() < 0.5
        at = rng.randrange(len(text) + (not swap))
        found.append([*text[:at], word, *text[at + swap :]])
    return found
