"""Measures of a program: does it parse, run, pass its tests. Nothing that a model wrote runs outside the sandbox."""

from collections.abc import Mapping, Sequence

from gemma_align.evaluation import common
from gemma_align.evaluation.pass_at_k import ks, pass_at_k
from gemma_align.evaluation.programs import helpers, program
from gemma_align.sandbox import Grade, Limits, Program, Sandbox
from gemma_align.types import Example

LIMITS = Limits(cpu_seconds=5)  # of a program, all its tests together


def ready() -> None:
    """Raises SandboxUnavailable where programs can't be confined."""
    with Sandbox(LIMITS, num_workers=1):
        pass


def measure(examples: Sequence[Example], responses: Sequence[str]) -> list[Mapping[str, float]]:
    """The measures of `common.measure`, and of each response:

    parses       1 where the program is Python

    With tests:
    runs         1 where it also comes to the end of its top level within the limits
    timeout      1 where it was ended because its time was up
    unsupported  1 where one of its tests can't be judged in the sandbox; it has none of the two that follow then
    test_share   share of its tests that pass, visible and hidden ones
    pass@1       1 where all of them pass; the greedy program's

    Without tests:
    exact_match  1 where program and reference differ at most in white space
    bleu         sentence BLEU against the reference (Papineni et al. 2002, by `sacrebleu`), 0 to 1
    """
    codes = [program(example, response) for example, response in zip(examples, responses, strict=True)]
    grades = grade(examples, codes)
    return [_measures(*row) for row in zip(examples, responses, codes, grades, strict=True)]


def tests_of(example: Example) -> tuple[str, ...]:
    """Visible and hidden ones."""
    return (*example.checks.get("tests", ()), *example.checks.get("hidden_tests", ()))


def job(example: Example, code: str) -> Program:
    """What the sandbox is to do with a program: run its tests, or only parse it where there are none."""
    tests = tests_of(example)
    name = example.checks.get("entry_point", "")
    head = helpers(example.prompt, name) if example.checks.get("continues") else ""
    setup = "\n".join(part for part in (head, example.checks.get("setup", "")) if part)
    return Program(example.id, code, tests, name, setup, parse_only=not tests)


def grade(examples: Sequence[Example], codes: Sequence[str]) -> list[Grade]:
    """One grade a program, in order."""
    with Sandbox(LIMITS) as sandbox:
        return sandbox.grade([job(example, code) for example, code in zip(examples, codes, strict=True)])


def sampled(examples: Sequence[Example], samples: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """Of each example with tests, from its sampled responses: sampled_pass@1 and pass@k for the `ks` above 1. None of
    an example with a test that can't be judged."""
    found: list[dict[str, float]] = [{} for _ in examples]
    rows = [(i, text) for i, texts in enumerate(samples) if tests_of(examples[i]) for text in texts]
    if not rows:
        return found
    grades = grade([examples[i] for i, _ in rows], [program(examples[i], text) for i, text in rows])
    mine: dict[int, list[Grade]] = {}
    for (i, _), graded in zip(rows, grades, strict=True):
        mine.setdefault(i, []).append(graded)
    for i, several in mine.items():
        if any(one.unsupported for one in several):
            continue
        passed = sum(one.all_passed for one in several)
        for k in ks(len(several)):
            found[i]["sampled_pass@1" if k == 1 else f"pass@{k}"] = pass_at_k(len(several), passed, k)
    return found


def bleu(code: str, reference: str) -> float:
    """Of words and punctuation marks, 0 to 1; short programs lack 4-grams, so it counts the orders that there are."""
    from sacrebleu import sentence_bleu

    return float(sentence_bleu(code, [reference], use_effective_order=True).score) / 100.0


def _measures(example: Example, response: str, code: str, grade: Grade) -> dict[str, float]:
    found = {**common.measure(example, response), "parses": float(grade.parsed)}
    if grade.passed:
        found |= {
            "runs": float(grade.ran),
            "timeout": float(grade.timeout),
            "unsupported": float(bool(grade.unsupported)),
        }
        if not grade.unsupported:
            found |= {"test_share": sum(map(bool, grade.passed)) / len(grade.passed), "pass@1": float(grade.all_passed)}
    elif example.response is not None:
        found["exact_match"] = common.measure(example, code)["exact_match"]
        found["bleu"] = bleu(code, example.response)
    return found
