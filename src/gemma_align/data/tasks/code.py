"""Small Python programs: MBPP, HumanEval, CoNaLa, or builtin problems with visible and hidden tests."""

from collections.abc import Mapping, Sequence

from gemma_align.data.builtin.code import code_example
from gemma_align.data.places import Known
from gemma_align.data.readers.code import CUE
from gemma_align.data.task import TaskSpec
from gemma_align.data.text import normal_form
from gemma_align.types import Example

KNOWN = (
    # MBPP's rows say themselves which split they belong to, so the file stands for all three.
    Known("mbpp.jsonl*", "mbpp", "train"),
    Known("mbpp.jsonl*", "mbpp", "tune"),
    Known("mbpp.jsonl*", "mbpp", "report"),
    Known("*conala*/train.json*", "conala", "train"),
    Known("conala-train.json*", "conala", "train"),
    Known("HumanEval.jsonl*", "humaneval", "report"),
)


def _measure(examples: Sequence[Example], responses: Sequence[str]) -> Sequence[Mapping[str, float]]:
    from gemma_align.evaluation.code import measure  # imported late, as the sandbox is

    return measure(examples, responses)


def _measure_samples(examples: Sequence[Example], samples: Sequence[Sequence[str]]) -> Sequence[Mapping[str, float]]:
    from gemma_align.evaluation.code import sampled

    return sampled(examples, samples)


def _ready() -> None:
    from gemma_align.evaluation.code import ready

    ready()


def _identity(example: Example) -> tuple[str, ...]:
    """Task, solution and what is rejected: one question may come with several snippets, and one snippet with several
    failing ones."""
    return normal_form(example.prompt), (example.response or "").strip(), (example.rejected or "").strip()


CODE = TaskSpec("code", CUE, KNOWN, code_example, _identity, _measure, _ready, measure_samples=_measure_samples)
