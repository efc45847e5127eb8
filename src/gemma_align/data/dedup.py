"""Finding near duplicates: Jaccard similarity of word 3-grams, at least NEAR_DUPLICATE.

Exact, not sketched: a text can only be similar to those that share one of its rarest shingles (the prefix
filter of Chaudhuri, Ganti and Kaushik 2006, "A primitive operator for similarity joins"), and only these are compared.
"""

from collections import defaultdict
from collections.abc import Iterable
from math import ceil

from gemma_align.data.text import shingles

NEAR_DUPLICATE = 0.8


class NearIndex:
    """Texts that others are compared with."""

    def __init__(self, texts: Iterable[str], threshold: float = NEAR_DUPLICATE) -> None:
        self._threshold = threshold
        self._sets: list[frozenset[tuple[str, ...]]] = []
        self._holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for text in dict.fromkeys(texts):
            grams = shingles(text)
            for gram in grams:
                self._holders[gram].append(len(self._sets))
            self._sets.append(grams)

    def similarity(self, text: str) -> float:
        """The highest similarity to any text of the index that reaches the threshold, else 0."""
        grams = shingles(text)
        # |A & B| >= threshold * |A u B| >= threshold * |A|, so B holds at least one of any |A| - ceil(t |A|) + 1 grams.
        num_probes = len(grams) - ceil(self._threshold * len(grams) - 1e-9) + 1
        rarest = sorted(grams, key=lambda gram: len(self._holders.get(gram, ())))[:num_probes]
        candidates = {i for gram in rarest for i in self._holders.get(gram, ())}
        best = max((jaccard(grams, self._sets[i]) for i in candidates), default=0.0)
        return best if best >= self._threshold else 0.0


def jaccard(a: frozenset[tuple[str, ...]], b: frozenset[tuple[str, ...]]) -> float:
    """|A & B| / |A u B|, between 0 and 1."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)
