"""Measures of a clinical note: overlap with the reference, likeness of meaning, facts covered, facts invented."""

from collections.abc import Mapping, Sequence
from functools import cache

from rouge_score.rouge_scorer import RougeScorer

from gemma_align.evaluation import common, embedding, extracted_facts
from gemma_align.evaluation.facts import check
from gemma_align.types import Example


def left_out() -> Mapping[str, str]:
    """Measures that this installation can't give, each with what to do; the others are given."""
    if embedding.is_available():
        return {}
    return {"semantic_similarity": "the extra `embeddings` isn't installed (pip install -e '.[embeddings]')"}


def measure_all(examples: Sequence[Example], responses: Sequence[str]) -> list[Mapping[str, float]]:
    """The measures of `measure` for each response, and where the extra `embeddings` is installed:

    semantic_similarity  cosine of response and reference, by `embedding.py`, of at most 256 word pieces each; 0 for an
                         empty response; where there is a reference with text
    """
    found = [dict(measure(example, response)) for example, response in zip(examples, responses, strict=True)]
    asked = [i for i, e in enumerate(examples) if e.response is not None and e.response.strip()]
    if asked and embedding.is_available():
        references = [examples[i].response or "" for i in asked]
        cosines = embedding.similarities([responses[i] for i in asked], references)
        for i, cosine in zip(asked, cosines, strict=True):
            found[i]["semantic_similarity"] = cosine
    return list(found)


def measure(example: Example, response: str) -> Mapping[str, float]:
    """The measures of `common.measure`, and:

    rouge1, rouge2, rougeL  F1 of words, word pairs and the longest common subsequence, stemmed (Lin 2004, by
                            `rouge-score`); where there is a reference
    fact_coverage           share of the known facts that the note states with the right polarity; where
                            `checks["facts"]` has any
    invented_facts          number of different claims that neither facts, reference nor dialogue support; where
                            `checks["facts"]` stands, an empty list included
    invented_share          that number / all different claims of the note; where it makes any
    claim_coverage          share of the reference's own claims that the note makes too; where it makes any
    unsupported_claims      number of different claims that neither reference nor dialogue support; where there is a
                            reference
    unsupported_share       that number / all different claims of the note; where it makes any, and there is a reference

    The last three need no known facts (`extracted_facts.py`), so they are there for real notes too.
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
    if example.response is not None:
        measures |= _by_reference(response, example.response, example.prompt)
    return measures


def _by_reference(response: str, reference: str, dialogue: str) -> Mapping[str, float]:
    found = extracted_facts.compare(response, reference, dialogue=dialogue)
    measures = {"unsupported_claims": float(len(found.unsupported))}
    if found.asked:
        measures["claim_coverage"] = len(found.covered) / len(found.asked)
    if found.stated:
        measures["unsupported_share"] = len(found.unsupported) / len(found.stated)
    return measures


@cache
def _scorer() -> RougeScorer:
    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
