"""From an answer to the program that the reward runs, and the tests that whoever wrote the answer could see.

An answer is cut at the first line that begins something else than the program: a mark such as `[DONE]`, a fence, a new
request. Of an answer with fences the longest fenced block is taken. Where the answer continues its prompt (HumanEval),
it ends before the first line that stands at the margin, unless it writes the whole function again.
"""

import ast
import doctest
import re

from gemma_align.data.python import parsed
from gemma_align.types import Example

_BLOCK = re.compile(r"^```[^\n`]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_STOP = re.compile(
    r"\[DONE\]|\[BEGIN\]|^```|^#{2,} |^You are an? |^(?:Human|User|Assistant|Question|Answer):", re.MULTILINE
)
_MARGIN = re.compile(r"^(?=[^\s#)\]}])", re.MULTILINE)
_CODE = re.compile(r"^(?:def|class|import|from|@|async def|\w+ *=|#)", re.MULTILINE)
_IMPORT = re.compile(r"^(?:import|from) .*$", re.MULTILINE)


def program_of(example: Example, text: str) -> str:
    """The Python text to run for an answer; it needn't parse."""
    name = str(example.checks.get("entry_point", ""))
    blocks: list[str] = _BLOCK.findall(text)
    if name and defines(text.split("\n```")[0], name) and not text.startswith("```"):
        blocks = []  # it begins with the program, and the fence closes it
    code = max(blocks, key=len) if blocks else text
    stop = _STOP.search(code)
    code = code[: stop.start()] if stop else code
    if example.checks.get("continues"):
        if defines(code, name):
            return "\n".join([*_IMPORT.findall(example.prompt), code])
        margin = _MARGIN.search(
            code, 1
        )  # a first line without its indent is left to fail, as it would have to be mended
        return example.prompt + (code[: margin.start()] if margin else code)
    return _without_prose(code, name).strip("\n")


def defines(code: str, name: str) -> bool:
    """Whether a program writes down a function, class or variable of this name at its margin; no name: anything."""
    if not name:
        return bool(code.strip())
    found = rf"^(?:(?:async )?def {name}\s*\(|class {name}\b|{name}\s*=|(?:from|import) .*\b{name}\b)"
    return re.search(found, code, re.MULTILINE) is not None


def visible_tests(example: Example) -> tuple[str, ...]:
    """The tests that stand in the prompt: those the example lists as visible, else the examples of the docstring that
    the answer continues. `hidden_tests` is never read."""
    tests = tuple(str(test) for test in example.checks.get("tests", ()))
    if tests or not example.checks.get("continues"):
        return tests
    found = []
    for shown in doctest.DocTestParser().get_examples(_docstring(example)):
        call, want = _written(shown.source), _written(shown.want)
        if call and want and _is_literal(want):
            found.append(f"assert {call} == {want}")
    return tuple(found)


def _without_prose(code: str, name: str) -> str:
    """Without the sentences before the program: what stands before its first line that looks like Python, where the
    name that is asked for is defined after that."""
    first = _CODE.search(code)
    if first is None or not first.start() or not defines(code[first.start() :], name):
        return code
    before = code[: first.start()]
    return code if parsed(before) is not None else code[first.start() :]


def _docstring(example: Example) -> str:
    """Of the function that the prompt begins; indented as in the prompt, which the parser of doctests wants."""
    name = re.escape(str(example.checks.get("entry_point", "")))
    found = re.search(rf"^def {name}\b.*?(?:\"\"\"|''')(.*?)(?:\"\"\"|''')", example.prompt, re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def _written(text: str) -> str:
    """An expression without its comments; "" where it is none."""
    tree = parsed(text.strip(), "eval")
    try:
        return "" if tree is None else ast.unparse(tree)
    except (ValueError, RecursionError, MemoryError):
        return ""


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
