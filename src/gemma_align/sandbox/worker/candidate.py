"""The process that runs generated code. It knows the code and the calls it is asked for: no test, no expected value.

Whatever the code does to this process, all it can achieve is an answer to a call, or none.
"""

import collections
import itertools
import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from . import codec

MODULE = "program"  # not "__main__": the functions are wanted, as by an import


def serve(fd: int) -> NoReturn:
    """Takes the program, answers requests until the other side goes. Never returns.

    Two messages come first: whether the code parses, sent before any of it runs and so to be believed, and whether it
    came to the end of its top level, which is the program's own word.
    """
    job = codec.receive(fd)
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    scope = module.__dict__
    try:
        program = compile(job["code"], "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        codec.send(fd, {"ok": False, "error": shown(error)})
        os._exit(0)
    codec.send(fd, {"ok": True, "error": ""})
    if job["parse_only"]:
        os._exit(0)
    for text in (program, job["setup"]):
        try:
            exec(text, scope)
        except BaseException as error:
            codec.send(fd, {"ok": False, "error": shown(error)})
            os._exit(0)
        codec.send(fd, {"ok": True, "error": ""})
    objects: list[Any] = []
    while True:
        try:
            request = codec.receive(fd)
        except EOFError:
            os._exit(0)
        codec.send(fd, _answer(request, scope, objects))


def _take(iterator: Any, count: int) -> list[Any]:
    """Up to so many items; fewer, and it has ended."""
    return list(itertools.islice(iterator, count))


_DOES: dict[str, Callable[..., Any]] = {
    "value": lambda target: target,
    "call": lambda target, *args, **kwargs: target(*args, **kwargs),
    "attribute": getattr,
    "item": operator.getitem,
    "contains": operator.contains,
    "length": len,
    "truth": bool,
    "text": str,
    "iterate": iter,
    "take": _take,
}


def _answer(request: Any, scope: dict[str, Any], objects: list[Any]) -> Any:
    decode = codec.Decoder(lambda kind, payload: _ours(kind, payload, scope, objects))
    encode = codec.Encoder(lambda value: _handle(value, objects))
    try:
        target = decode(request["target"])
        args = [decode(a) for a in request["args"]]
        kwargs = {name: decode(value) for name, value in request["kwargs"].items()}
        result = _DOES[request["does"]](target, *args, **kwargs)
        return {
            "result": encode(result),
            "args": [encode(a) if may_change(a) else None for a in args],
            "kwargs": {name: encode(a) for name, a in kwargs.items() if may_change(a)},
        }
    except BaseException as error:
        return {"raised": [str(type(error).__name__)[:100], shown(error)]}


def may_change(value: Any) -> bool:
    """Whether a call can change the value; tuples may hold a list."""
    return isinstance(value, list | dict | set | bytearray | tuple | collections.deque)


def _ours(kind: str, payload: Any, scope: dict[str, Any], objects: list[Any]) -> Any:
    if kind == "name":
        if payload not in scope:
            raise NameError(f"name {payload!r} is not defined")
        return scope[payload]
    if kind == "handle":
        return objects[payload]
    raise codec.Malformed(f"an unknown kind {kind!r}")


def _handle(value: Any, objects: list[Any]) -> list[Any]:
    objects.append(value)
    return ["handle", len(objects) - 1]


def shown(error: BaseException) -> str:
    """Class and text, at most 300 characters."""
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return "an exception that can't be shown"
