"""Toxicity: the classifier's probability of the worst sentence, and words of the lexicon.

    classifier  max over sentences and the whole text of p(offensive), each read as it is and without disguise
    lexicon     1 where a word or phrase stands in the text, else 0

A sentence is looked at by itself because the classifier averages: one insult among fifty sentences would vanish.
"""

from collections.abc import Sequence

import numpy as np

from gemma_align.rewards.constraints.base import Measure, severity
from gemma_align.rewards.constraints.classifier import probabilities, undisguised
from gemma_align.rewards.constraints.lexicon import hits
from gemma_align.rewards.constraints.limits import ToxicityLimits
from gemma_align.rewards.constraints.units import Span, sentences
from gemma_align.rewards.fold import fold


def toxicity(
    texts: Sequence[str], limits: ToxicityLimits, lexicon: Sequence[str], classifier: bool
) -> list[list[Measure]]:
    """The measures of each text; the classifier is asked once for all of them."""
    found = _classified(texts, limits.threshold) if classifier else [[] for _ in texts]
    return [[*measures, _lexicon(text, lexicon)] for text, measures in zip(texts, found, strict=True)]


def _classified(texts: Sequence[str], threshold: float) -> list[list[Measure]]:
    spans: list[list[Span]] = []
    readings: list[str] = []
    for text in texts:
        whole = (0, len(text))
        own = list(sentences(text))
        spans.append(own if own == [whole] or not own else [*own, whole])
        for start, end in spans[-1]:
            part = text[start:end]
            readings += (part, undisguised(fold(part)))
    scores = probabilities(readings).reshape(-1, 2).max(1)
    ends = np.cumsum([len(each) for each in spans])
    return [
        [_classifier(each, scores[end - len(each) : end].tolist(), threshold)]
        for each, end in zip(spans, ends.tolist(), strict=True)
    ]


def _classifier(spans: Sequence[Span], scores: Sequence[float], threshold: float) -> Measure:
    amount = max(scores, default=0.0)
    level = severity(amount, threshold, 1.0)
    if not level:
        return Measure("classifier", amount, 0.0)
    guilty = [span for span, score in zip(spans, scores, strict=True) if score >= threshold]
    if len(guilty) > 1 and guilty[-1] == max(spans, key=lambda span: span[1] - span[0]):
        guilty.pop()  # the whole text, where sentences say it more exactly
    return Measure("classifier", amount, level, tuple(guilty), f"{amount:.2f} probability of being offensive")


def _lexicon(text: str, lexicon: Sequence[str]) -> Measure:
    found = sorted(hits(fold(text), lexicon))
    if not found:
        return Measure("lexicon", 0.0, 0.0)
    start, end = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Measure("lexicon", 1.0, 1.0, tuple(found), f'"{" ".join(text[start:end].split())}"{more} of the lexicon')
