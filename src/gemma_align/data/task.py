"""What makes a task a task, what is configured about its data, and what comes out. `loading.py` does the work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gemma_align.data.places import Known
from gemma_align.data.report import DataReport
from gemma_align.types import Example, SampledMeasure, Split

SPLITS: tuple[Split, ...] = ("train", "tune", "report")

Measure = Callable[[Sequence[Example], Sequence[str]], Sequence[Mapping[str, float]]]
Builtin = Callable[[int, Split, int], Example]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task, as data.

    cue       closes the plain-text prompt where a row gives none of its own
    known     files of published sets, found in a folder by name
    builtin   builtin(seed, split, index): an example that depends on these three only
    identity  what makes two rows duplicates: the prompt alone (one right answer), or prompt and answers (pairs)
    measure   quality measures of each response, all at once: programs run in parallel, embeddings in batches
    ready     raises a UserError where something that `measure` needs isn't there
    left_out  measures that can't be had here, each with the reason
    measure_samples  measures of each example from several sampled responses
    """

    name: str
    cue: str
    known: tuple[Known, ...]
    builtin: Builtin
    identity: Callable[[Example], tuple[str, ...]]
    measure: Measure
    ready: Callable[[], None] = lambda: None
    left_out: Callable[[], Mapping[str, str]] = dict
    measure_samples: SampledMeasure | None = None


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task with its examples (a `Task`, see types.py) and the account of where they came from."""

    spec: TaskSpec
    splits: Mapping[Split, tuple[Example, ...]]
    report: DataReport
    shots: tuple[Example, ...] = ()  # worked examples that a set was published with, in no split

    @property
    def name(self) -> str:
        """Such as "clinical"."""
        return self.spec.name

    def examples(self, split: Split) -> tuple[Example, ...]:
        """The examples of one split, in a fixed order."""
        return self.splits[split]

    @property
    def measure_samples(self) -> SampledMeasure | None:
        """See `TaskSpec`."""
        return self.spec.measure_samples

    def ready(self) -> None:
        """See `TaskSpec`."""
        self.spec.ready()

    def left_out(self) -> Mapping[str, str]:
        """See `TaskSpec`."""
        return self.spec.left_out()

    def lines(self) -> list[str]:
        """For people: what was read, and what can't be measured here."""
        missing = [f"{self.name}: {name} is left out: {reason}" for name, reason in self.left_out().items()]
        return [*self.report.lines(), *missing]

    def measure(self, examples: Sequence[Example], responses: Sequence[str]) -> Sequence[Mapping[str, float]]:
        """Quality measures of each response, by name."""
        return self.spec.measure(examples, responses)


class DataSettings(Protocol):
    """The part of the configuration that this module reads (`config.DataConfig` fulfils it)."""

    @property
    def train(self) -> str:
        """A file, folder, hub id or "builtin"; see `find_places`."""
        ...

    @property
    def tune(self) -> str | None:
        """As `train`, or None: see the rules above."""
        ...

    @property
    def report(self) -> str | None:
        """As `tune`."""
        ...

    @property
    def format(self) -> str:
        """A name of `FORMATS`, "builtin" or "auto"."""
        ...

    @property
    def seed(self) -> int:
        """Of everything that is generated, cut or drawn."""
        ...

    @property
    def num_builtin(self) -> int:
        """Examples generated for each builtin split."""
        ...

    @property
    def max_train_examples(self) -> int | None:
        """At most so many are drawn; None: all."""
        ...

    @property
    def balance(self) -> str | None:
        """A label of `checks` that one half of train has and the other half hasn't; None: all are taken."""
        ...

    @property
    def max_tune_examples(self) -> int | None:
        """As above."""
        ...

    @property
    def max_report_examples(self) -> int | None:
        """As above."""
        ...
