"""Notes from dialogues: MTS-Dialog, or builtin dialogues with known facts."""

from collections.abc import Mapping, Sequence

from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.data.places import Known
from gemma_align.data.readers.clinical import CUE
from gemma_align.data.task import TaskSpec
from gemma_align.data.text import normal_form
from gemma_align.types import Example

KNOWN = (
    Known("MTS-Dialog-TrainingSet*.csv*", "mts_dialog", "train"),
    Known("MTS-Dialog-ValidationSet*.csv*", "mts_dialog", "tune"),
    Known("MTS-Dialog-TestSet-1*.csv*", "mts_dialog", "report"),
)


def _measure(examples: Sequence[Example], responses: Sequence[str]) -> Sequence[Mapping[str, float]]:
    from gemma_align.evaluation.clinical import measure_all  # imported late: it loads the ROUGE scorer

    return measure_all(examples, responses)


def _left_out() -> Mapping[str, str]:
    from gemma_align.evaluation.clinical import left_out

    return left_out()


def _identity(example: Example) -> tuple[str, ...]:
    """Dialogue and section: a second note for the same two contradicts the first. Of pairs, both notes as well."""
    pair = (example.response or "", example.rejected) if example.rejected is not None else ()
    return (normal_form(example.prompt), *pair)


CLINICAL = TaskSpec("clinical", CUE, KNOWN, clinical_example, _identity, _measure, left_out=_left_out)
