"""Python text that somebody else wrote, read without running it."""

import ast
import warnings
from typing import Literal


def parsed(code: str, mode: Literal["exec", "eval"] = "exec") -> ast.Module | ast.Expression | None:
    """Its tree; None where it is no Python, or too deep for the parser. Warns of nothing in it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            tree = ast.parse(code, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    assert isinstance(tree, ast.Module | ast.Expression), "what these modes give"
    return tree
