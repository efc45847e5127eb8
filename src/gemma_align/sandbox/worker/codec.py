"""Values between two processes of which one is not to be trusted: tagged JSON in frames, never pickle.

Plain values are rebuilt as what they are on the other side, so an object's own `__eq__` or `__hash__` never gets
there. Subclasses become their built-in class: a named tuple a tuple, a Counter a dict. Anything else stays where it is
and travels as what `other` makes of it, a handle. What two names share is shared no more: every value is a copy.
"""

import base64
import collections
import datetime
import decimal
import fractions
import json
import os
import types
from collections.abc import Callable
from typing import Any

MAX_DEPTH, MAX_NODES, MAX_BYTES = 60, 300_000, 16 * 2**20

Other = Callable[[Any], list[Any]]


class Malformed(Exception):
    """What came is no value, or too large a one."""


def send(fd: int, message: Any) -> None:
    """One JSON message.

    Raises:
        Malformed: over MAX_BYTES.
    """
    data = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(data) > MAX_BYTES:
        raise Malformed(f"a message of {len(data)} bytes; at most {MAX_BYTES} are taken")
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int) -> Any:
    """The next message.

    Raises:
        EOFError: the other side has gone.
        Malformed: it doesn't keep to the format.
    """
    size = int.from_bytes(_exactly(fd, 4), "big")
    if size > MAX_BYTES:
        raise Malformed(f"a message of {size} bytes; at most {MAX_BYTES} are taken")
    try:
        return json.loads(_exactly(fd, size).decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}"[:200]) from None


def _exactly(fd: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(fd, min(size, 2**20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


_ITEMS: dict[str, Any] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "deque": collections.deque,
}
_BUILT_IN: tuple[type, ...] = (
    int,
    str,
    float,
    bool,
    list,
    tuple,
    set,
    frozenset,
    dict,
    bytes,
    bytearray,
    complex,
    range,
    object,
    type,
    type(None),
)
_TYPES = {cls.__name__: cls for cls in _BUILT_IN}
_NAMES = {cls: name for name, cls in _TYPES.items()}
_ITERABLES: tuple[Any, ...] = ([], (), set(), {}, {}.values(), {}.items(), "", "é", b"", range(0), range(2**70))
_ITERATORS: tuple[Any, ...] = (
    types.GeneratorType,
    map,
    filter,
    zip,
    enumerate,
    reversed,
    *(type(iter(x)) for x in _ITERABLES),
)


class Encoder:
    """Values to JSON. `other` is asked for what isn't plain; it gives a tagged pair or raises."""

    def __init__(self, other: Other) -> None:
        self._other = other
        self._nodes = 0

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """The value as JSON can hold it. Raises Malformed where it is too large or too deep."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise Malformed("a value nested too deep or too large")
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return ["int", hex(int.__index__(value))]
        if isinstance(value, float):
            return ["float", float.hex(value)]
        if isinstance(value, complex):
            return ["complex", [float.hex(value.real), float.hex(value.imag)]]
        if isinstance(value, bytes | bytearray):
            kind = "bytes" if isinstance(value, bytes) else "bytearray"
            return [kind, base64.b64encode(bytes(value)).decode()]
        if isinstance(value, range):
            return ["range", [hex(n) for n in (value.start, value.stop, value.step)]]
        for kind, cls in _ITEMS.items():
            if isinstance(value, cls):
                return [kind, [self(item, depth + 1) for item in cls.__iter__(value)]]
        if isinstance(value, dict):
            return ["dict", [[self(k, depth + 1), self(v, depth + 1)] for k, v in dict.items(value)]]
        return self._rare(value, depth)

    def _rare(self, value: Any, depth: int) -> Any:
        cls = type(value)
        if cls is decimal.Decimal:
            return ["decimal", str(value)]
        if cls is fractions.Fraction:
            return ["fraction", [hex(value.numerator), hex(value.denominator)]]
        if cls in (datetime.date, datetime.datetime, datetime.time):
            return [cls.__name__, value.isoformat()]
        if cls is datetime.timedelta:
            return ["timedelta", [value.days, value.seconds, value.microseconds]]
        if cls is type and value in _NAMES:
            return ["type", _NAMES[value]]
        return self._other(value)


_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "int": lambda p: int(p, 16),
    "float": lambda p: float.fromhex(p),
    "complex": lambda p: complex(float.fromhex(p[0]), float.fromhex(p[1])),
    "bytes": lambda p: base64.b64decode(p, validate=True),
    "bytearray": lambda p: bytearray(base64.b64decode(p, validate=True)),
    "range": lambda p: range(*(int(n, 16) for n in p)),
    "decimal": lambda p: decimal.Decimal(p),
    "fraction": lambda p: fractions.Fraction(int(p[0], 16), int(p[1], 16)),
    "date": lambda p: datetime.date.fromisoformat(p),
    "datetime": lambda p: datetime.datetime.fromisoformat(p),
    "time": lambda p: datetime.time.fromisoformat(p),
    "timedelta": lambda p: datetime.timedelta(*p),
    "type": lambda p: _TYPES[p],
}


class Decoder:
    """JSON to values. `other` is given the tag and payload of what isn't plain."""

    def __init__(self, other: Callable[[str, Any], Any]) -> None:
        self._other = other
        self._nodes = 0

    def __call__(self, data: Any, depth: int = 0) -> Any:
        """The value. Raises Malformed where it is none, too large or too deep."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise Malformed("a value nested too deep or too large")
        if data is None or isinstance(data, bool | str):
            return data
        if not (isinstance(data, list) and len(data) == 2 and isinstance(data[0], str)):
            raise Malformed("no tagged value")
        kind, payload = data
        try:
            if kind in _ITEMS:
                return _ITEMS[kind](self(item, depth + 1) for item in payload)
            if kind == "iterator":
                return iter([self(item, depth + 1) for item in payload])
            if kind == "dict":
                return {self(k, depth + 1): self(v, depth + 1) for k, v in payload}
            if kind in _SIMPLE:
                return _SIMPLE[kind](payload)
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise Malformed(f"a broken {kind}: {error}"[:200]) from None
        return self._other(kind, payload)


def is_iterator(value: Any) -> bool:
    """A generator, or made by a built-in function or class: its items are all that others see of it."""
    return isinstance(value, _ITERATORS)
