"""Evaluation of one policy on one task: decode greedily, measure every response, score every reference.

What is measured per example is kept per example, so that every later comparison is paired.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from gemma_align.data.fewshot import few_shot as with_shots
from gemma_align.data.fewshot import first_answer
from gemma_align.evaluation.fingerprint import fingerprint
from gemma_align.evaluation.statistics import Interval, mean_interval, ratio_interval
from gemma_align.types import Example, Policy, Responses, Sampling, Split, Task

CHUNK = 2  # examples handed over at a time, in multiples of the rows decoded side by side: ended rows are refilled


class _Format(Protocol):
    @property
    def name(self) -> str: ...

    def prompt_text(self, example: Example) -> str: ...


class EvaluatedPolicy(Policy, Protocol):
    """What evaluation needs of a policy beyond scoring and sampling."""

    @property
    def prompt_format(self) -> _Format:
        """How examples become prompts."""
        ...

    def encode(self, examples: Sequence[Example]) -> Responses:
        """The reference responses, one an example, in order."""
        ...

    def sampling(self) -> AbstractContextManager[None]:
        """Within it the weights don't change between calls of `generate`."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """One example's outcome.

    prompt           the text that the model read, worked examples included
    response         what it said; after worked examples, up to where it starts an example of its own
    num_tokens       tokens generated, the end token included
    finished         ended by itself
    measures         the task's measures of the response
    response_loss    nats per token of the reference response, its end token included; None without a reference
    response_tokens  tokens of the reference response; 0 without one
    """

    id: str
    prompt: str
    response: str
    reference: str | None
    finished: bool
    num_tokens: int
    measures: Mapping[str, float]
    response_loss: float | None
    response_tokens: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one split: the measures over examples, and every example's record in the examples' order.

    data      fingerprint of the examples, before worked ones are put in front
    decoding  everything that decides which response is drawn, apart from the weights and the prompt
    """

    task: str
    split: Split
    model: str
    measures: Mapping[str, Interval]
    records: tuple[Record, ...]
    data: str
    decoding: Mapping[str, Any]
    prompt_format: str
    confidence: float


def evaluate(
    policy: EvaluatedPolicy,
    task: Task,
    examples: Sequence[Example],
    *,
    split: Split,
    model: str,
    max_new_tokens: int,
    num_rows: int = 16,
    few_shot_from: Sequence[Example] = (),
    few_shot: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Greedy responses to `examples`, their measures with intervals, and the loss on the references.

    Args:
        policy: the model as it is; nothing about it is changed.
        task: gives the measures of a response.
        examples: what to evaluate on; records keep this order.
        split: which split they are from.
        model: the model's name in the results, such as "base" or "tuned".
        max_new_tokens: longest response; one that reaches it without an end token is unfinished.
        num_rows: responses that the policy decodes side by side.
        few_shot_from: training examples to draw worked ones from.
        few_shot: worked examples before each prompt.
        confidence: of the intervals.
        seed: of the intervals' resampling and of the choice of worked examples.
        progress: called with examples done and examples in all.

    Raises:
        ValueError: no examples, worked examples without a place to draw them from, or a measure that isn't finite.
    """
    if not examples:
        raise ValueError(f"{task.name}: no {split} examples to evaluate on")
    if few_shot and not few_shot_from:
        raise ValueError(f"{task.name}: {few_shot} worked examples wanted, but no examples given to draw them from")
    asked = [with_shots(few_shot_from, e, few_shot, seed) if few_shot else e for e in examples]
    # Long prompts first: similar lengths share a pass, and what doesn't fit into memory fails at once
    order = sorted(range(len(asked)), key=lambda i: -len(asked[i].prompt))
    sampling = Sampling(max_tokens=max_new_tokens, temperature=0.0, seed=seed)
    records: dict[int, Record] = {}
    with torch.no_grad(), policy.sampling():
        for start in range(0, len(order), CHUNK * num_rows):
            chunk = order[start : start + CHUNK * num_rows]
            made = _records(policy, task, [examples[i] for i in chunk], [asked[i] for i in chunk], sampling)
            records.update(zip(chunk, made, strict=True))
            if progress is not None:
                progress(len(records), len(order))
    kept = tuple(records[i] for i in range(len(order)))
    return Evaluation(
        task=task.name,
        split=split,
        model=model,
        measures=_aggregate(kept, confidence, seed),
        records=kept,
        data=fingerprint(examples),
        decoding={"temperature": 0.0, "max_new_tokens": max_new_tokens, "few_shot": few_shot, "seed": seed},
        prompt_format=policy.prompt_format.name,
        confidence=confidence,
    )


def _records(
    policy: EvaluatedPolicy, task: Task, examples: Sequence[Example], asked: Sequence[Example], sampling: Sampling
) -> Iterator[Record]:
    """`asked` are the examples as the policy reads them; measures know nothing of worked examples before the prompt."""
    rollouts = policy.generate(asked, 1, sampling)
    num_tokens = rollouts.responses.mask.sum(dim=1).tolist()
    losses = _reference_losses(policy, asked)
    rows = zip(examples, asked, rollouts.texts, rollouts.finished.tolist(), num_tokens, losses, strict=True)
    for example, shown, text, finished, tokens, (loss, loss_tokens) in rows:
        response = text if shown is example else first_answer(text)
        yield Record(
            id=example.id,
            prompt=policy.prompt_format.prompt_text(shown),
            response=response,
            reference=example.response,
            finished=finished,
            num_tokens=tokens,
            measures=_finite(task.measure(example, response), example.id),
            response_loss=loss,
            response_tokens=loss_tokens,
        )


def _reference_losses(policy: EvaluatedPolicy, examples: Sequence[Example]) -> list[tuple[float | None, int]]:
    """Nats per token and tokens of each example's reference; (None, 0) without one."""
    losses: list[tuple[float | None, int]] = [(None, 0)] * len(examples)
    having = [i for i, example in enumerate(examples) if example.response is not None]
    if not having:
        return losses
    responses = policy.encode([examples[i] for i in having])
    mask = responses.mask.cpu()
    nats = torch.where(mask, -policy.logprobs(responses).cpu().double(), 0.0).sum(dim=1)
    tokens = mask.sum(dim=1)
    assert len(tokens) == len(having), "the policy encodes one response an example"
    for i, total, count in zip(having, nats.tolist(), tokens.tolist(), strict=True):
        if count:
            losses[i] = (total / count, count)
    return losses


def _finite(measures: Mapping[str, float], example_id: str) -> dict[str, float]:
    for name, value in measures.items():
        if not math.isfinite(value):
            raise ValueError(
                f"measure {name!r} of example {example_id!r} is {value}: leave it out where it isn't defined"
            )
    return dict(measures)


def _aggregate(records: Sequence[Record], confidence: float, seed: int) -> dict[str, Interval]:
    """Every measure over the examples that have it, in the order in which they appear."""
    columns: dict[str, list[float]] = {}
    for record in records:
        for name, value in values(record).items():
            columns.setdefault(name, []).append(value)
    measures = {name: mean_interval(column, confidence, seed) for name, column in columns.items()}
    nats, tokens = reference_nats(records)
    if nats:
        measures["response_loss"] = ratio_interval(nats, tokens, confidence, seed)
    return measures


def values(record: Record) -> dict[str, float]:
    """What is averaged with equal weights: the task's measures, `finished` (0 or 1) and `num_tokens`."""
    return {**record.measures, "finished": float(record.finished), "num_tokens": float(record.num_tokens)}


def reference_nats(records: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Nats and tokens of the references that were scored; their ratio of sums is `response_loss`."""
    scored = [
        (r.response_loss * r.response_tokens, float(r.response_tokens)) for r in records if r.response_loss is not None
    ]
    return [nats for nats, _ in scored], [tokens for _, tokens in scored]
