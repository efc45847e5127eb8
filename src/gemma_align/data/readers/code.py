"""MBPP (Austin et al. 2021), HumanEval (Chen et al. 2021), CoNaLa (Yin et al. 2018)."""

import re
from collections.abc import Sequence

from gemma_align.data.readers.fields import Fields, Parsed, id_field, optional_text, text_field, texts_field
from gemma_align.data.report import BadRow
from gemma_align.types import Example, Split

CUE = "[BEGIN]"  # the marker of MBPP's published prompt; the end token stands where it has [DONE]
SHOTS = (2, 3, 4)  # task ids of MBPP's published three-shot prompt

_DEFINED = re.compile(r"^def\s+(\w+)\s*\(", re.MULTILINE)


def mbpp_prompt(task: str, tests: Sequence[str]) -> str:
    """The prompt format of MBPP's README."""
    joined = "\n".join(tests)
    return (
        f"You are an expert Python programmer, and here is your task: {task.strip()} "
        f"Your code should pass these tests:\n\n{joined}\n"
    )


def mbpp(fields: Fields, cue: str) -> Parsed:
    """Full (text, test_setup_code, challenge_test_list) and sanitized (prompt, test_imports) alike.

    The published split goes by task_id: 1-10 few-shot prompts (2, 3 and 4 are those of the paper), 11-510 test,
    511-600 validation, 601-974 train. Other ids belong to no split. Passing means `test_list`, as in the paper; the
    challenge tests that a few rows have are left out.
    """
    try:
        number = int(fields["task_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadRow("no task_id", f"{fields.get('task_id')!r}; a whole number was wanted") from error
    if 1 <= number <= 10 and number not in SHOTS:
        raise BadRow("kept for few-shot prompts (ids 1-10)")
    task = text_field(fields, "text" if "text" in fields else "prompt")
    code = code_text(text_field(fields, "code"))
    tests = [test.strip() for test in texts_field(fields, "test_list")]
    if not tests:
        raise BadRow("no tests")
    setup = optional_text(fields, "test_setup_code") or "\n".join(texts_field(fields, "test_imports"))
    checks = {
        "tests": tests,
        "hidden_tests": [],
        "setup": code_text(setup),
        "entry_point": entry_point(code, tests),
    }
    example = Example(id=str(number), prompt=mbpp_prompt(task, tests), response=code, cue=cue, checks=checks)
    return Parsed(example, key=task, split=_mbpp_split(number), shot=number in SHOTS)


def _mbpp_split(number: int) -> Split | None:
    if 11 <= number <= 510:
        return "report"
    if 511 <= number <= 600:
        return "tune"
    return "train" if 601 <= number <= 974 else None


def humaneval(fields: Fields, cue: str) -> Parsed:
    """Fields task_id, prompt, entry_point, canonical_solution, test. The response continues the prompt's text.

    There is no cue, whatever the task's usual one: the function's head is the cue.
    """
    del cue
    prompt = text_field(fields, "prompt")
    name = text_field(fields, "entry_point").strip()
    test = text_field(fields, "test").strip("\n")
    solution = text_field(fields, "canonical_solution").rstrip()
    checks = {
        "tests": [],
        "hidden_tests": [f"{test}\n\ncheck({name})"],
        "setup": "",
        "entry_point": name,
        "continues": True,
    }
    example = Example(
        id=id_field(fields, "task_id"), prompt=prompt.rstrip("\n") + "\n", response=solution, checks=checks
    )
    return Parsed(example, key=prompt)


def conala(fields: Fields, cue: str) -> Parsed:
    """Fields intent, rewritten_intent (may be null), snippet. No tests."""
    intent = (optional_text(fields, "rewritten_intent") or text_field(fields, "intent")).strip()
    snippet = code_text(text_field(fields, "snippet"))
    prompt = f"You are an expert Python programmer, and here is your task: {intent}"
    return Parsed(Example(id="", prompt=prompt, response=snippet, cue=cue), key=intent)


def code_text(code: str) -> str:
    """Without blank lines around it and spaces at the ends of lines (kept where a long string may hold them)."""
    if '"""' not in code and "'''" not in code:
        code = "\n".join(line.rstrip() for line in code.split("\n"))
    return code.strip("\n").rstrip()


def entry_point(code: str, tests: Sequence[str]) -> str:
    """The function the tests call: the last one defined at the top level whose name stands in the first test."""
    called = [name for name in _DEFINED.findall(code) if re.search(rf"\b{name}\b", tests[0])] if tests else []
    return called[-1] if called else ""
