"""Refusing what harms and answering what doesn't: HH-RLHF, AdvBench, HarmBench, XSTest, or builtin requests."""

from collections.abc import Mapping, Sequence

from gemma_align.data.builtin.safety import safety_example
from gemma_align.data.places import Known
from gemma_align.data.readers.safety import CUE
from gemma_align.data.task import TaskSpec
from gemma_align.data.text import normal_form
from gemma_align.types import Example

KNOWN = (
    Known("hh*/train.jsonl*", "hh_rlhf", "train"),
    Known("harmless-base/train.jsonl*", "hh_rlhf", "train"),
    Known("hh*/validation.jsonl*", "hh_rlhf", "report"),
    Known("hh*/test.jsonl*", "hh_rlhf", "report"),
    Known("harmless-base/test.jsonl*", "hh_rlhf", "report"),
    Known("advbench_behaviors.csv*", "advbench", "train"),
    Known("harmful_behaviors.csv*", "advbench", "train"),
    Known("harmbench_behaviors_text_val.csv*", "harmbench", "train"),
    Known("harmbench_behaviors_text_test.csv*", "harmbench", "report"),
    Known("xstest_prompts.csv*", "xstest", "report"),
)


def _measure(examples: Sequence[Example], responses: Sequence[str]) -> Sequence[Mapping[str, float]]:
    from gemma_align.evaluation.safety import measure  # imported late: it loads the embedding model

    return measure(examples, responses)


def _ready() -> None:
    from gemma_align.evaluation.safety import ready

    ready()


def _identity(example: Example) -> tuple[str, ...]:
    """The whole conversation and both answers: one prompt may come with several pairs."""
    turns = [turn.content for turn in example.history]
    return tuple(normal_form(text) for text in (*turns, example.prompt, example.response or "", example.rejected or ""))


SAFETY = TaskSpec("safety", CUE, KNOWN, safety_example, _identity, _measure, _ready)
