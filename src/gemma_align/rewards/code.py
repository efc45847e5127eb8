"""The programmatic reward of a program, graded so that a policy that passes nothing yet has something to climb.

    total = parses_weight * parses + runs_weight * runs + tests_weight * share of visible tests passed

`parses`: it is Python, and not only comments. `runs`: it also comes to the end of its top level within the limits, its
tests too, and defines the function that is asked for. Weights of 0.1, 0.2 and 0.7 give totals from 0 to 1. The tests
are those the prompt shows; the hidden ones measure, so they are never read here. Programs run in the sandbox, side by
side.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import torch

from gemma_align.errors import RewardError
from gemma_align.rewards.programs import defines, program_of, visible_tests
from gemma_align.sandbox import Grade, Limits, Program, Sandbox
from gemma_align.types import Answer, Example, Scores


class CodeReward:
    """A `RewardModel` (types.py). Parts: `parses` and `runs`, 0 or 1; `tests`, the share of visible tests passed.

    The sandbox starts with the first call and stays until `close`, or the end of a `with` block.
    """

    def __init__(
        self,
        *,
        parses: float = 0.1,
        runs: float = 0.2,
        tests: float = 0.7,
        cpu_seconds: int = 2,
        num_workers: int | None = None,
    ) -> None:
        """The settings of `reward.code`."""
        self.weights = {"parses": parses, "runs": runs, "tests": tests}
        self.limits = Limits(cpu_seconds=cpu_seconds)
        self.num_workers = num_workers
        self._sandbox: Sandbox | None = None

    def score(self, examples: Sequence[Example], answers: Sequence[Answer]) -> Scores:
        """See `RewardModel`.

        Raises:
            RewardError: an example without visible tests, or with one that can't be judged in the sandbox.
            SandboxUnavailable: programs can't be confined here.
        """
        grades = self.grade(examples, [answer.text for answer in answers])
        rows = []
        for example, (code, grade) in zip(examples, grades, strict=True):
            if why := unjudged(example, grade):
                raise RewardError(
                    f"example {example.id}: its programs can't be judged: {why}. The code reward wants visible tests "
                    "(checks.tests) that the sandbox can run: mend or leave out the example"
                )
            rows.append(rungs(example, code, grade))
        parts = {name: torch.tensor([row[name] for row in rows], dtype=torch.float32) for name in self.weights}
        return Scores(torch.tensor([self.weigh(row) for row in rows], dtype=torch.float32), parts)

    @property
    def full(self) -> float:
        """The total of a program that passes everything."""
        return sum(self.weights.values())

    def weigh(self, parts: Mapping[str, float]) -> float:
        """The total of one program's parts."""
        return sum(weight * parts[name] for name, weight in self.weights.items())

    def grade(self, examples: Sequence[Example], texts: Sequence[str]) -> list[tuple[str, Grade]]:
        """The program of each text and what became of it; the texts are graded side by side."""
        programs = []
        for number, (example, text) in enumerate(zip(examples, texts, strict=True)):
            tests = visible_tests(example)
            name, setup = str(example.checks.get("entry_point", "")), str(example.checks.get("setup", ""))
            programs.append(Program(str(number), program_of(example, text), tests, name, setup, parse_only=not tests))
        if not programs:
            return []
        if self._sandbox is None:
            self._sandbox = Sandbox(self.limits, num_workers=self.num_workers)
        return [(p.code, grade) for p, grade in zip(programs, self._sandbox.grade(programs), strict=True)]

    def close(self) -> None:
        """Ends the sandbox; a later call starts another."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def unjudged(example: Example, grade: Grade) -> str:
    """Why nothing can be said of a program's tests; "" where something can."""
    return grade.unsupported if grade.passed else f"{example.id} has no visible tests"


def rungs(example: Example, code: str, grade: Grade) -> dict[str, float]:
    """The parts of one program's score."""
    parses = grade.parsed and any(line.strip() and not line.lstrip().startswith("#") for line in code.splitlines())
    runs = parses and grade.ran and not grade.timeout and defines(code, str(example.checks.get("entry_point", "")))
    return {"parses": float(parses), "runs": float(runs), "tests": sum(map(bool, grade.passed)) / len(grade.passed)}
