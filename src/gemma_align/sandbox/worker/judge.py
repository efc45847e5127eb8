"""The process that runs tests, and is believed. The program is in another one; here stand proxies for its names."""

import ast
import builtins
import importlib
from typing import Any

from . import codec
from .candidate import shown
from .remote import TEST, Gone, Line, Unsendable


def judge(fd: int, report: int) -> None:
    """Runs the tests and says how they went.

    Args:
        fd: to the program.
        report: to the owner: the job comes from there, and the verdict goes there.
    """
    job = codec.receive(report)
    tests = [_prepared(text, job["setup"], job["entry_point"]) for text in job["tests"]]
    line = Line(fd)
    found = line.start(job["code"], job["setup"], job["parse_only"])
    outcomes = [_run(*test, job["setup"], job["entry_point"], line) for test in tests]
    found["passed"] = [passed for passed, _ in outcomes]
    found["reasons"] = [reason for _, reason in outcomes]
    codec.send(report, found)


def _prepared(text: str, setup: str, entry_point: str) -> tuple[Any, frozenset[str], str]:
    """Code, the names in it that are the program's, and why it can't be judged here, if so.

    Everything about this is the test's own doing: no program has been started yet.
    """
    try:
        tree = ast.parse(text)
        code = compile(tree, "<test>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return None, frozenset(), f"the test isn't Python: {error}"[:300]
    for name in _imports(tree):
        try:
            importlib.import_module(name)
        except Exception as error:
            return None, frozenset(), f"the test needs a module that isn't there: {error}"[:300]
    return code, _names_of_program(tree, _scope(setup), entry_point), ""


def _imports(tree: ast.AST) -> list[str]:
    """Modules that the test can't do without: imported anywhere but within a `try`."""
    found, nodes = [], [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
        elif not isinstance(node, ast.Try):
            nodes += ast.iter_child_nodes(node)
    return found


def _scope(setup: str) -> dict[str, Any]:
    """A scope for a test. Setup code that needs the program's own classes gives no names here: they are the program's,
    where the setup is run too."""
    scope: dict[str, Any] = {"__name__": TEST}
    if setup:
        try:
            exec(compile(setup, "<setup>", "exec", dont_inherit=True), scope)
        except Exception:
            return {"__name__": TEST}
    return scope


def _names_of_program(tree: ast.AST, scope: dict[str, Any], entry_point: str) -> frozenset[str]:
    """Names that the test reads and nobody else defines, and the entry point in any case."""
    read: set[str] = set()
    written: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else written).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            written.add(node.name)
        elif isinstance(node, ast.arg):
            written.add(node.arg)
        elif isinstance(node, ast.alias):
            written.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            written.add(node.name)
    unknown = {name for name in read - written if name not in scope and not hasattr(builtins, name)}
    return frozenset(unknown | ({entry_point} - written - {""}))


def _run(
    code: Any, names: frozenset[str], unsupported: str, setup: str, entry_point: str, line: Line
) -> tuple[bool | None, str]:
    """True, False, or None where the test itself can't be judged here; and why not True."""
    if unsupported:
        return None, unsupported
    if line.gone:
        return False, line.gone
    scope = _scope(setup)
    try:
        scope |= {name: line.named(name, function=name == entry_point) for name in names}
        exec(code, scope)
    except Unsendable as error:
        return None, str(error)
    except Gone as error:
        return False, str(error)
    except BaseException as error:
        return False, shown(error).rstrip(": ")
    return (False, line.gone) if line.gone else (True, "")
