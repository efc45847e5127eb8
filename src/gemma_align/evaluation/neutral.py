"""What training cost elsewhere: the loss on plain prose that no task trains on."""

import math
from collections.abc import Sequence

import torch

from gemma_align.core.padding import padded
from gemma_align.evaluation.evaluate import EvaluatedPolicy, Evaluation, Record, aggregate
from gemma_align.evaluation.fingerprint import fingerprint
from gemma_align.evaluation.statistics import Interval
from gemma_align.types import Example, Responses

NAME = "neutral"


def texts_as_examples(texts: Sequence[str]) -> list[Example]:
    """Texts without a prompt."""
    return [Example(id=f"{NAME}/{i}", prompt="", response=text) for i, text in enumerate(texts)]


def neutral_loss(
    policy: EvaluatedPolicy, texts: Sequence[str], *, model: str, confidence: float = 0.95, seed: int = 0
) -> Evaluation:
    """Nats per token (`response_loss`) of whole texts after the start token alone, and its exponential, `perplexity`.

    No end token is scored: how a model ends is a matter of its task. Nothing is generated.
    """
    examples = texts_as_examples(texts)
    start = (policy.prompt_format.bos_id,)
    rows = [policy.prompt_format.response_ids(text)[:-1] for text in texts]
    ids, mask = padded(rows)
    with torch.no_grad():
        logprobs = policy.logprobs(Responses((start,), torch.zeros(len(rows), dtype=torch.long), ids, mask))
    nats = (-logprobs.cpu().double()).sum(dim=1).tolist()
    records = tuple(
        Record(
            id=example.id,
            prompt="",
            response="",
            reference=text,
            finished=True,
            num_tokens=0,
            measures={},
            response_loss=total / len(row),
            response_tokens=len(row),
        )
        for example, text, total, row in zip(examples, texts, nats, rows, strict=True)
    )
    loss = aggregate(records, confidence, seed)["response_loss"]
    measures = {"response_loss": loss, "perplexity": _exp(loss)}
    return Evaluation(
        task=NAME,
        split="report",
        model=model,
        measures=measures,
        records=records,
        data=fingerprint(examples),
        decoding={"seed": seed},
        prompt_format=policy.prompt_format.name,
        confidence=confidence,
    )


def _exp(loss: Interval) -> Interval:
    """An interval survives any rising function of what it is about."""
    low, high = (None if end is None else math.exp(end) for end in (loss.low, loss.high))
    return Interval(math.exp(loss.mean), low, high, loss.n)
