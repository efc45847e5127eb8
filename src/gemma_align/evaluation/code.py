"""Measures of a program: does it parse, run, and pass its tests. Nothing that a model wrote runs outside the sandbox."""

from collections.abc import Mapping, Sequence

from gemma_align.evaluation import common
from gemma_align.evaluation.pass_at_k import ks, pass_at_k
from gemma_align.evaluation.programs import parses, program
from gemma_align.sandbox import Grade, Limits, Program, Sandbox
from gemma_align.types import Example

LIMITS = Limits(cpu_seconds=5)  # of a program, all its tests together


def ready() -> None:
    """Raises SandboxUnavailable where programs can't be confined."""
    with Sandbox(num_workers=1):
        pass


def measure(examples: Sequence[Example], responses: Sequence[str]) -> list[Mapping[str, float]]:
    """The measures of `common.measure`, and of each response:

    parses       1 where the program is Python
    runs         1 where it also comes to the end of its top level within the limits; where there are tests
    test_share   share of its tests that pass, those left out that can't be judged
    pass@1       1 where all of them pass; the greedy program's
    unsupported  1 where no test can be judged: then it has none of the two before
    bleu         sentence BLEU against the reference (Papineni et al. 2002, by `sacrebleu`), 0 to 1; without tests

    `exact_match` compares with the reference as everywhere: of use for sets without tests.
    """
    codes = [program(example, response) for example, response in zip(examples, responses, strict=True)]
    found = [dict(common.measure(e, r)) | {"parses": float(parses(c))} for e, r, c in zip(examples, responses, codes)]
    tested = [i for i, example in enumerate(examples) if tests_of(example)]
    if tested:
        grades = grade([examples[i] for i in tested], [codes[i] for i in tested])
        for i, graded in zip(tested, grades, strict=True):
            found[i] |= _graded(graded)
    for i in set(range(len(examples))) - set(tested):
        reference = examples[i].response
        if reference is not None:
            found[i]["bleu"] = bleu(codes[i], reference)
    return list(found)


def tests_of(example: Example) -> tuple[str, ...]:
    """Visible and hidden ones."""
    return (*example.checks.get("tests", ()), *example.checks.get("hidden_tests", ()))


def grade(examples: Sequence[Example], codes: Sequence[str]) -> list[Grade]:
    """One grade a program, in order."""
    jobs = [
        Program(
            id=example.id,
            code=code,
            tests=tests_of(example),
            entry_point=example.checks.get("entry_point", ""),
            setup=example.checks.get("setup", ""),
        )
        for example, code in zip(examples, codes, strict=True)
    ]
    with Sandbox(LIMITS) as sandbox:
        return sandbox.grade(jobs)


def sampled(examples: Sequence[Example], samples: Sequence[Sequence[str]]) -> list[dict[str, float]]:
    """Of each example with tests, from its sampled responses: sampled_pass@1 and pass@k for the `ks` above 1."""
    rows = [(i, text) for i, texts in enumerate(samples) if tests_of(examples[i]) for text in texts]
    owners = [examples[i] for i, _ in rows]
    grades = grade(owners, [program(examples[i], text) for i, text in rows]) if rows else []
    passed: dict[int, list[bool]] = {}
    for (i, _), found in zip(rows, grades, strict=True):
        passed.setdefault(i, []).append(_graded(found).get("pass@1") == 1.0)
    return [
        {
            "sampled_pass@1" if k == 1 else f"pass@{k}": pass_at_k(len(passed[i]), sum(passed[i]), k)
            for k in ks(len(passed[i]))
        }
        if i in passed
        else {}
        for i in range(len(examples))
    ]


def bleu(code: str, reference: str) -> float:
    """Of white-space and punctuation tokens; short programs lack 4-grams, so BLEU counts the orders there are."""
    from sacrebleu import sentence_bleu

    return float(sentence_bleu(code, [reference], use_effective_order=True).score) / 100.0


def _graded(found: Grade) -> dict[str, float]:
    measures = {"runs": float(found.ran)}
    judged = [result for result in found.passed if result is not None]
    if not judged:
        return measures | {"unsupported": 1.0}
    share = sum(judged) / len(judged)
    return measures | {"test_share": share, "pass@1": float(share == 1.0), "unsupported": 0.0}
