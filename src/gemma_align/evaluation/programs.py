"""From a response to the program that is graded.

A model that wasn't tuned to stop goes on after its answer: with the next worked example, a test of its own, prose.
What is cut off is fixed here, the same for every model, and knows nothing of whether the rest is right:

- of a fenced block (```python ... ```) only its inside counts;
- a program ends at the first of `ENDS`, the marks that part examples in prompts;
- a continuation (HumanEval) also ends where the function does, at the first of `AFTER_FUNCTION` (Chen et al. 2021,
  section 3.1), and stands behind its prompt. One that defines the function again stands alone, behind the prompt's
  imports.
"""

import ast
import re
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the sandbox's commands read this module, and don't wait for torch
    from gemma_align.types import Example

ENDS = ("[DONE]", "[BEGIN]", "\n###", "\nYou are an expert")
AFTER_FUNCTION = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\nassert ")

_FENCED = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)


def program(example: "Example", response: str) -> str:
    """The Python text to run for a response; it needn't parse."""
    name = example.checks.get("entry_point", "")
    return extracted(response, name, example.prompt if example.checks.get("continues") else None)


def extracted(response: str, entry_point: str, head: str | None) -> str:
    """The same from its parts; `head` is the prompt where the response continues it."""
    fenced = _FENCED.search(response)
    text = _before(fenced[1] if fenced else response, ENDS)
    if head is None:
        return text.strip("\n")
    if re.search(rf"^def\s+{re.escape(entry_point)}\s*\(", text, re.MULTILINE):
        return f"{_imports(head)}\n{text.lstrip()}"
    return head + _before(text, AFTER_FUNCTION)


def helpers(head: str, entry_point: str) -> str:
    """What a prompt defines before the function that is asked for: HumanEval's tests call some of it, so the judge
    needs its own. "" where the prompt is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in docstrings
            body = ast.parse(head).body
    except SyntaxError:
        return ""
    lines = head.splitlines()
    kept = [
        "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in body
        if not (isinstance(node, ast.FunctionDef) and node.name == entry_point)
    ]
    return "\n\n".join(kept)


def _before(text: str, marks: tuple[str, ...]) -> str:
    found = [at for mark in marks if (at := text.find(mark)) >= 0]
    return text[: min(found)] if found else text


def _imports(prompt: str) -> str:
    return "\n".join(line for line in prompt.splitlines() if re.match(r"(from|import)\s", line))
