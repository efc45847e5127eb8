"""Evaluation of one policy on one task: decode greedily, score every reference, then measure all responses.

What is measured per example is kept per example, so that every later comparison is paired. Beside the greedy response
each prompt may get a number of sampled ones, for measures that speak of several (pass@k).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from gemma_align.data.fewshot import few_shot as with_shots
from gemma_align.data.fewshot import first_answer
from gemma_align.data.splits import hashed
from gemma_align.evaluation.fingerprint import fingerprint
from gemma_align.evaluation.likelihood import Likelihood, Scorer, likelihoods
from gemma_align.evaluation.statistics import Interval, mean_interval, ratio_interval
from gemma_align.types import Example, Rollouts, Sampling, Split, Task

CHUNK = 2  # examples handed over at a time, in multiples of the rows decoded side by side: ended rows are refilled
Timer = Callable[[str], AbstractContextManager[None]]

SAMPLED = 16  # examples whose samples are drawn at a time; each such group has random numbers of its own


def _untimed(part: str) -> AbstractContextManager[None]:
    return nullcontext()


class _Format(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def bos_id(self) -> int: ...

    def prompt_text(self, example: Example) -> str: ...

    def response_ids(self, text: str) -> tuple[int, ...]: ...


class EvaluatedPolicy(Scorer, Protocol):
    """What evaluation needs of a policy beyond scoring and sampling."""

    @property
    def prompt_format(self) -> _Format:
        """How examples become prompts."""
        ...

    def sampling(self) -> AbstractContextManager[None]:
        """Within it the weights don't change between calls of `generate`."""
        ...


class Draw(Protocol):
    """Another way of drawing the response to each example than greedily (`best_of.py`)."""

    @property
    def decoding(self) -> Mapping[str, Any]:
        """What about it decides which response is drawn; JSON values."""
        ...

    @property
    def spent(self) -> Mapping[str, int]:
        """What it took so far."""
        ...

    def __call__(
        self, policy: EvaluatedPolicy, examples: Sequence[Example], sampling: Sampling, timer: Timer
    ) -> Rollouts:
        """One response to each example; `sampling` has the longest response and the seed."""
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
    samples          the sampled responses, where there are any
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
    samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on one split: the measures over examples, and every example's record in the examples' order.

    data      fingerprint of the examples, before worked ones are put in front
    left_out  measures that could not be had where it was made, each with the reason
    decoding  everything that decides which response is drawn, apart from the weights and the prompt
    spent     what drawing took, where it took more than the responses that are kept
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
    left_out: Mapping[str, str] = field(default_factory=dict)
    spent: Mapping[str, int] = field(default_factory=dict)


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
    published_shots: Sequence[Example] = (),
    few_shot: int = 0,
    num_samples: int = 0,
    temperature: float = 0.8,
    draw: Draw | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    timer: Timer = _untimed,
) -> Evaluation:
    """Responses to `examples`, greedy ones unless `draw` is given, their measures with intervals, and the loss on the
    references.

    Args:
        policy: the model as it is; nothing about it is changed.
        task: gives the measures of a response.
        examples: what to evaluate on; records keep this order.
        split: which split they are from.
        model: the model's name in the results, such as "base" or "tuned".
        max_new_tokens: longest response; one that reaches it without an end token is unfinished.
        num_rows: responses that the policy decodes side by side.
        few_shot_from: training examples to draw worked ones from.
        published_shots: those that a set was published with; they come first, see `data.fewshot`.
        few_shot: worked examples before each prompt.
        num_samples: sampled responses to each prompt beside the greedy one; which ones depends on the weights, the
            seed and the example's place among the examples, not on `num_rows`.
        temperature: of these.
        draw: draws the responses otherwise than greedily. What chooses among several has no likelihood of its own, so
            the references aren't scored then.
        confidence: of the intervals.
        seed: of the intervals' resampling and of the choice of worked examples.
        progress: called with what is done and what there is to do, `num_steps`.
        timer: `timer(part)` is entered around each part of the work: "generate", "references" (their loss) and
            "measure".

    Raises:
        ValueError: no examples, worked examples without a place to draw them from, or a measure that isn't finite.
    """
    if not examples:
        raise ValueError(f"{task.name}: no {split} examples to evaluate on")
    if few_shot and not few_shot_from:
        raise ValueError(f"{task.name}: {few_shot} worked examples wanted, but no examples given to draw them from")
    if num_samples and task.measure_samples is None:
        raise ValueError(f"{task.name} has no measure of several samples: evaluation.num_samples must be 0")
    task.ready()
    asked = [
        with_shots(few_shot_from, e, few_shot, seed, published=published_shots) if few_shot else e for e in examples
    ]
    # Long prompts first: similar lengths share a pass, and what doesn't fit into memory fails at once
    order = sorted(range(len(asked)), key=lambda i: -len(asked[i].prompt))
    greedy = Sampling(max_tokens=max_new_tokens, temperature=0.0, seed=seed)
    chunks = [order[start : start + CHUNK * num_rows] for start in range(0, len(order), CHUNK * num_rows)]
    done, total = 0, num_steps(len(asked), num_samples, references=draw is None)

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        if progress is not None:
            progress(done, total)

    drawn: dict[int, _Drawn] = {}
    scored = [Likelihood()] * len(asked)
    samples: list[tuple[str, ...]] = []
    with torch.no_grad():
        with policy.sampling():
            for chunk in chunks:
                drawn.update(zip(chunk, _draw(policy, [asked[i] for i in chunk], greedy, timer, draw), strict=True))
                advance(len(chunk))
            for start in range(0, len(asked) if num_samples else 0, SAMPLED):
                own = replace(greedy, temperature=temperature, seed=hashed(seed, "samples", start))
                with timer("generate"):
                    texts = policy.generate(asked[start : start + SAMPLED], num_samples, own).texts
                samples += [tuple(texts[i : i + num_samples]) for i in range(0, len(texts), num_samples)]
                advance(len(texts))
        # Not while the sampler's copy of the weights is kept: scoring reads the weights themselves, and both at once
        # would be the most memory that a run ever takes.
        for chunk in chunks if draw is None else ():
            with timer("references"):
                for i, found in zip(chunk, likelihoods(policy, [asked[i] for i in chunk]), strict=True):
                    scored[i] = found
            advance(len(chunk))
    with timer("measure"):
        kept = tuple(_records(policy, task, examples, asked, [drawn[i] for i in range(len(order))], scored, samples))
    decoding = {"temperature": 0.0, "max_new_tokens": max_new_tokens, "few_shot": few_shot, "seed": seed}
    if num_samples:
        decoding |= {"num_samples": num_samples, "sampling_temperature": temperature}
    if draw is not None:
        decoding |= draw.decoding
    return Evaluation(
        task=task.name,
        split=split,
        model=model,
        measures=aggregate(kept, confidence, seed),
        records=kept,
        data=fingerprint(examples),
        decoding=decoding,
        prompt_format=policy.prompt_format.name,
        confidence=confidence,
        spent=dict(draw.spent) if draw is not None else {},
    )


def num_steps(num_examples: int, num_samples: int, *, references: bool) -> int:
    """What `progress` counts: responses drawn and, with `references`, references scored."""
    return num_examples * (1 + num_samples + references)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What the policy said to one example."""

    text: str
    finished: bool
    num_tokens: int


def _draw(
    policy: EvaluatedPolicy, asked: Sequence[Example], greedy: Sampling, timer: Timer, draw: Draw | None
) -> list[_Drawn]:
    if draw is not None:
        rollouts = draw(policy, asked, greedy, timer)
    else:
        with timer("generate"):
            rollouts = policy.generate(asked, 1, greedy)
    num_tokens = rollouts.responses.mask.sum(dim=1).tolist()
    return [_Drawn(*row) for row in zip(rollouts.texts, rollouts.finished.tolist(), num_tokens, strict=True)]


def _records(
    policy: EvaluatedPolicy,
    task: Task,
    examples: Sequence[Example],
    asked: Sequence[Example],
    drawn: Sequence[_Drawn],
    scored: Sequence[Likelihood],
    sampled: Sequence[tuple[str, ...]],
) -> list[Record]:
    """`asked` are the examples as the policy reads them; measures know nothing of worked examples before the prompt.
    `sampled` is empty, or has several texts of each example.
    """
    alone = [shown is example for shown, example in zip(asked, examples, strict=True)]

    def answer(text: str, i: int) -> str:
        return text if alone[i] else first_answer(text)

    responses = [answer(d.text, i) for i, d in enumerate(drawn)]
    measures = [dict(found) for found in task.measure(examples, responses)]
    samples = [tuple(answer(text, i) for text in texts) for i, texts in enumerate(sampled)]
    if task.measure_samples is not None and samples:
        for mine, found in zip(measures, task.measure_samples(examples, samples), strict=True):
            mine |= found
    for mine, likelihood in zip(measures, scored, strict=True):
        if likelihood.preferred is not None:
            mine["preference_accuracy"] = likelihood.preferred
    return [
        Record(
            id=example.id,
            prompt=policy.prompt_format.prompt_text(asked[i]),
            response=responses[i],
            reference=example.response,
            finished=drawn[i].finished,
            num_tokens=drawn[i].num_tokens,
            measures=_finite(measures[i], example.id),
            response_loss=scored[i].loss,
            response_tokens=scored[i].num_tokens,
            samples=samples[i] if samples else (),
        )
        for i, example in enumerate(examples)
    ]


def _finite(measures: Mapping[str, float], example_id: str) -> dict[str, float]:
    for name, value in measures.items():
        if not math.isfinite(value):
            raise ValueError(
                f"measure {name!r} of example {example_id!r} is {value}: leave it out where it isn't defined"
            )
    return dict(measures)


def aggregate(records: Sequence[Record], confidence: float, seed: int) -> dict[str, Interval]:
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
