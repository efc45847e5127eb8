"""Measures of a clinical note: overlap with the reference, facts covered, facts invented."""

from collections.abc import Mapping
from functools import cache

from rouge_score.rouge_scorer import RougeScorer

from gemma_align.evaluation import common
from gemma_align.evaluation.facts import check
from gemma_align.types import Example


def measure(example: Example, response: str) -> Mapping[str, float]:
    """The measures of `common.measure`, and:

    rouge1, rouge2, rougeL  F1 of words, word pairs and the longest common subsequence, stemmed (Lin 2004, by
                            `rouge-score`); where there is a reference
    fact_coverage           share of the known facts that the note states with the right polarity; where
                            `checks["facts"]` has any
    invented_facts          number of different claims that neither facts, reference nor dialogue support; where
                            `checks["facts"]` stands, an empty list included
    invented_share          that number / all different claims of the note; where it makes any
    """
    measures = dict(common.measure(example, response))
    if example.response is not None:
        measures |= {name: score.fmeasure for name, score in _scorer().score(example.response, response).items()}
    facts = example.checks.get("facts")
    if facts is not None:
        found = check(
            response,
            facts,
            dialogue=example.prompt,
            reference=example.response or "",
            distractors=example.checks.get("distractors", ()),
        )
        if facts:
            measures["fact_coverage"] = sum(found.covered) / len(facts)
        measures["invented_facts"] = float(len(found.invented))
        if found.stated:
            measures["invented_share"] = len(found.invented) / len(found.stated)
    return measures


@cache
def _scorer() -> RougeScorer:
    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
