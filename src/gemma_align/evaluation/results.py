"""Evaluations as JSON, and two of them compared example by example."""

from collections.abc import Mapping
from typing import Any

from gemma_align.evaluation.evaluate import Evaluation, values
from gemma_align.evaluation.statistics import Interval, paired_interval, ratio_interval


def differences(tuned: Evaluation, base: Evaluation) -> dict[str, Interval]:
    """tuned - base, paired by example, for every measure that both have; each over the examples where both have it.

    `response_loss` is left out where the two read a reference as different numbers of tokens: nats per token of
    different tokens don't compare.

    Raises:
        ValueError: the two were evaluated on different examples.
    """
    if tuned.data != base.data:
        raise ValueError(
            f"{tuned.model} and {base.model} were evaluated on different examples (data {tuned.data} and {base.data}): "
            "evaluate both on the same ones"
        )
    seed = int(tuned.decoding["seed"])
    rows = [(values(t), values(b)) for t, b in zip(tuned.records, base.records, strict=True)]
    found: dict[str, Interval] = {}
    for name in tuned.measures:
        pairs = [(t[name], b[name]) for t, b in rows if name in t and name in b]
        if pairs:
            ours, theirs = zip(*pairs, strict=True)
            found[name] = paired_interval(ours, theirs, tuned.confidence, seed)
    lost = [
        ((t.response_loss - b.response_loss) * t.response_tokens, t.response_tokens, b.response_tokens)
        for t, b in zip(tuned.records, base.records, strict=True)
        if t.response_loss is not None and b.response_loss is not None
    ]
    if lost and all(ours == theirs for _, ours, theirs in lost):
        found["response_loss"] = ratio_interval(
            [n for n, _, _ in lost], [t for _, t, _ in lost], tuned.confidence, seed
        )
    return found


def to_json(tuned: Evaluation, *others: Evaluation) -> dict[str, Any]:
    """What `evaluation.json` holds: the tuned model's results, and of every other that was evaluated (`base`,
    `few_shot`, `best_of_N`), under its name the same and under "difference" tuned - other, paired. Intervals that can't
    be had are null."""
    document = _one(tuned)
    for other in others:
        document[other.model] = {**_one(other), "difference": _intervals(differences(tuned, other))}
    return document


def records(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One JSON object an example: the line of a jsonl file."""
    return [
        {
            "model": evaluation.model,
            "task": evaluation.task,
            "split": evaluation.split,
            "id": r.id,
            "prompt": r.prompt,
            "response": r.response,
            "reference": r.reference,
            "finished": r.finished,
            "num_tokens": r.num_tokens,
            "measures": dict(r.measures),
            "response_loss": r.response_loss,
            "response_tokens": r.response_tokens,
            **({"samples": list(r.samples)} if r.samples else {}),
        }
        for r in evaluation.records
    ]


def _one(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "task": evaluation.task,
        "split": evaluation.split,
        "model": evaluation.model,
        "measures": _intervals(evaluation.measures),
        "num_examples": len(evaluation.records),
        "confidence": evaluation.confidence,
        "data": evaluation.data,
        "decoding": dict(evaluation.decoding),
        "prompt_format": evaluation.prompt_format,
        "left_out": dict(evaluation.left_out),
        **({"spent": dict(evaluation.spent)} if evaluation.spent else {}),
    }


def _intervals(measures: Mapping[str, Interval]) -> dict[str, dict[str, float | int | None]]:
    return {name: {"mean": i.mean, "low": i.low, "high": i.high, "n": i.n} for name, i in measures.items()}
