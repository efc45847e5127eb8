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

from gemma_align.types import Example

ENDS = ("[DONE]", "[BEGIN]", "\n###", "\nYou are an expert")
AFTER_FUNCTION = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@", "\nassert ")

_FENCED = re.compile(r"```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)


def program(example: Example, response: str) -> str:
    """The Python text to run for a response; it needn't parse."""
    fenced = _FENCED.search(response)
    text = fenced[1] if fenced else response
    text = _before(text, ENDS)
    if not example.checks.get("continues"):
        return text.strip("\n")
    name = example.checks.get("entry_point", "")
    if re.search(rf"^def\s+{re.escape(name)}\s*\(", text, re.MULTILINE):
        return f"{_imports(example.prompt)}\n{text.lstrip()}"
    return example.prompt + _before(text, AFTER_FUNCTION)


def parses(code: str) -> bool:
    """Whether it is Python."""
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # ValueError: null bytes
        return False
    return True


def _before(text: str, marks: tuple[str, ...]) -> str:
    found = [at for mark in marks if (at := text.find(mark)) >= 0]
    return text[: min(found)] if found else text


def _imports(prompt: str) -> str:
    return "\n".join(line for line in prompt.splitlines() if re.match(r"(from|import)\s", line))
