"""A program with one thing made wrong: off by one, a wrong operator, a swapped branch, a wrong return.

Only the text of the changed place differs, so layout and comments don't tell chosen from rejected. That a mutant really
fails is for the sandbox to say; some don't.
"""

import ast
import re
from collections.abc import Iterator
from random import Random

from gemma_align.data.pairs.notes import Corruption
from gemma_align.data.python import parsed
from gemma_align.data.splits import hashed

KINDS = ("off_by_one", "operator", "branch", "return")

_COMPARED = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==", "in": "not in", "not in": "in",
    "is": "is not", "is not": "is",
}  # fmt: skip
_COMPUTED = {
    "+": "-", "-": "+", "*": "+", "//": "/", "/": "//", "%": "//", "**": "*", "&": "|", "|": "&", "^": "|",
    "<<": ">>", ">>": "<<",
}  # fmt: skip
_SIGN = re.compile(r"\*\*|//|<<|>>|[-+*/%&|^]")
_RELATION = re.compile(r"<=|>=|==|!=|<|>|\bnot\s+in\b|\bin\b|\bis\s+not\b|\bis\b")

_Change = tuple[str, int, int, str]  # kind; code[start:end] in bytes becomes the text


def mutants(code: str, seed: int) -> list[Corruption]:
    """All single mutations that are Python, kinds taken in turns, in an order that depends on seed and code.

    Empty where the program doesn't parse, or has nothing to change.
    """
    tree = parsed(code)
    if tree is None:
        return []
    draw = Random(hashed(seed, "mutants", code))
    by_kind: dict[str, list[str]] = {kind: [] for kind in draw.sample(KINDS, len(KINDS))}
    source = code.encode()
    for kind, start, end, text in _changes(tree, source):
        mutant = (source[:start] + text.encode() + source[end:]).decode()
        if mutant != code and mutant not in by_kind[kind] and parsed(mutant) is not None:
            by_kind[kind].append(mutant)
    for texts in by_kind.values():
        draw.shuffle(texts)
    longest = max(map(len, by_kind.values()))
    return [Corruption(kind, texts[i]) for i in range(longest) for kind, texts in by_kind.items() if i < len(texts)]


def _changes(tree: ast.AST, source: bytes) -> Iterator[_Change]:
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def span(node: ast.expr) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def text(node: ast.expr) -> str:
        start, end = span(node)
        return source[start:end].decode()

    inside_strings = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    arguments: dict[int, list[str]] = {}  # of the function around a return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for part in ast.walk(node):
                arguments[id(part)] = [argument.arg for argument in node.args.args]
    for node in ast.walk(tree):
        if id(node) in inside_strings:  # places in f-strings aren't reliable
            continue
        match node:
            case ast.Constant(value=bool()):
                yield "branch", *span(node), str(not node.value)
            case ast.Constant(value=int(value)):
                yield "off_by_one", *span(node), str(value + 1)
                yield "off_by_one", *span(node), f"({value - 1})" if value == 0 else str(value - 1)
            case ast.Call(func=ast.Name(id="range"), args=[*_, last]):
                yield "off_by_one", *span(last), f"{text(last)} - 1"
                yield "off_by_one", *span(last), f"{text(last)} + 1"
            case ast.Compare(left=left, comparators=[right]):
                yield from _between("operator", source, span(left)[1], span(right)[0], _RELATION, _COMPARED)
            case ast.BinOp(left=left, right=right) if not _is_text(left):
                yield from _between("operator", source, span(left)[1], span(right)[0], _SIGN, _COMPUTED)
            case ast.BoolOp(values=[left, right, *_]):
                words = {"and": "or", "or": "and"}
                yield from _between("branch", source, span(left)[1], span(right)[0], re.compile("and|or"), words)
            case ast.If(test=test) | ast.IfExp(test=test):
                yield "branch", *span(test), f"not ({text(test)})"
            case ast.Return(value=ast.expr() as value):
                for other in ("None", *arguments.get(id(node), ())):
                    if other != text(value):
                        yield "return", *span(value), other
            case _:
                pass


def _between(
    kind: str, source: bytes, start: int, end: int, pattern: re.Pattern[str], others: dict[str, str]
) -> Iterator[_Change]:
    """The operator that stands between two operands, replaced by another."""
    gap = source[start:end].decode()
    found = pattern.search(gap)
    if found is not None and (other := others.get(" ".join(found[0].split()))):
        before = len(gap[: found.start()].encode())
        yield kind, start + before, start + before + len(found[0].encode()), other


def _is_text(node: ast.expr) -> bool:
    """A string, whose % isn't arithmetic."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
