"""The judge's view of the program: proxies for its names and objects, and the line they are reached by.

Results are rebuilt here as plain values, so tests compare plain values. What the program returns beyond those (an
object of its own class, a generator) is a handle: it can be given back, called, iterated, asked for attributes, items
and its length; it equals nothing but itself.
"""

import builtins
import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from . import codec

TEST = "__test__"  # __name__ of a test's scope, so that what tests define can be told
NOT_PASSED_ON = (AssertionError, StopIteration, StopAsyncIteration)  # they would mean something to the test around them


class ProgramError(Exception):
    """The program raised something for which there is no built-in class, or none that may pass."""


class ProgramExit(BaseException):
    """The program raised what isn't meant to be caught: SystemExit, KeyboardInterrupt."""


class Gone(BaseException):
    """The program's process has ended or talks nonsense. Not an Exception: no test may take it for one it expects."""


class Unsendable(BaseException):
    """A test gives the program something that only exists on the test's side."""


class Remote:
    """A name or an object of the program."""

    def __init__(self, line: "Line", tagged: list[Any]) -> None:
        self.__dict__["_line"], self.__dict__["_tagged"] = line, tagged

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls it in the program's process."""
        return self._line.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._line.ask("attribute", self, (name,))

    def __getitem__(self, key: Any) -> Any:
        return self._line.ask("item", self, (key,))

    def __contains__(self, item: Any) -> bool:
        return self._line.ask("contains", self, (item,)) is True

    def __len__(self) -> int:
        length = self._line.ask("length", self)
        if type(length) is not int or not 0 <= length < 2**62:
            raise ProgramError("a length that is none")
        return length

    def __bool__(self) -> bool:
        return self._line.ask("truth", self) is True

    def __str__(self) -> str:
        text = self._line.ask("text", self)
        return text if type(text) is str else ""

    def __repr__(self) -> str:
        return "<an object of the program>"

    def __iter__(self) -> Iterator[Any]:
        iterator, count = self._line.ask("iterate", self), 1
        while True:
            items = self._line.ask("take", iterator, (count,)) if isinstance(iterator, Remote) else None
            if not isinstance(items, list):
                raise ProgramError("an iterator that is none")
            yield from items
            if len(items) != count:
                return
            count = min(2 * count, 1024)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and self._tagged == other._tagged

    def __hash__(self) -> int:
        return hash(tuple(self._tagged))

    def __copy__(self) -> "Remote":
        return self

    def __deepcopy__(self, memo: Any) -> "Remote":
        return self


class Line:
    """The connection to the program."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.gone = ""  # why, once it has

    def start(self, code: str, setup: str, parse_only: bool) -> dict[str, Any]:
        """Hands the program over. What is known of it: parsed, ran, ready (for calls), error."""
        found: dict[str, Any] = {"parsed": False, "ran": False, "ready": False, "error": ""}
        try:
            codec.send(self._fd, {"code": code, "setup": setup, "parse_only": parse_only})
            for stage in ("parsed",) if parse_only else ("parsed", "ran", "ready"):
                said = codec.receive(self._fd)
                found[stage] = isinstance(said, dict) and said.get("ok") is True
                if not found[stage]:
                    found["error"] = str(said.get("error"))[:300] if isinstance(said, dict) else "malformed answer"
                    break
        except (EOFError, OSError):
            found["error"] = "its process ended"
        except codec.Malformed as error:
            found["error"] = str(error)
        if not found["ready"]:
            self.gone = found["error"] or "it isn't run"
        return found

    def named(self, name: str, function: bool) -> Any:
        """What a name stands for: a value, or a proxy where it is a function, which needn't be asked for if it is known
        to be one, and where there is nothing of that name."""
        proxy = Remote(self, ["name", name])
        if function:
            return proxy
        try:
            value = self.ask("value", proxy)
        except NameError:
            return proxy
        return proxy if isinstance(value, Remote) else value

    def ask(self, does: str, target: Remote, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """One request. What the program did to lists, dictionaries and sets that it was given is done here too.

        Raises:
            Gone: no answer, or one that is none.
            Unsendable: a test's own function or object among the arguments.
            Exception: the program raised one of that name.
        """
        if self.gone:
            raise Gone(self.gone)
        kwargs = kwargs or {}
        encode = codec.Encoder(_sendable)
        request = {
            "does": does,
            "target": target._tagged,
            "args": [encode(a) for a in args],
            "kwargs": {name: encode(value) for name, value in kwargs.items()},
        }
        try:
            codec.send(self._fd, request)
            answer = codec.receive(self._fd)
        except (EOFError, OSError):
            self._lose("its process ended")
        except codec.Malformed as error:
            self._lose(str(error))
        if not isinstance(answer, dict):
            self._lose("malformed answer")
        if "raised" in answer:
            raise _exception(answer["raised"])
        return self._taken(answer, args, kwargs)

    def _taken(self, answer: dict[str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        decode = codec.Decoder(self._handle)
        try:
            result = decode(answer["result"])
            after = [decode(value) for value in answer["args"]]
            named = {name: decode(value) for name, value in answer["kwargs"].items()}
        except (codec.Malformed, LookupError, TypeError, AttributeError) as error:
            self._lose(f"a broken answer: {error}"[:200])
        for mine, new in zip(args, after, strict=False):
            _take_over(mine, new)
        for name, mine in kwargs.items():
            _take_over(mine, named.get(name))
        return result

    def _lose(self, why: str) -> NoReturn:
        self.gone = why  # after a broken answer nothing can be told apart any more
        raise Gone(why)

    def _handle(self, kind: str, payload: Any) -> Remote:
        if kind != "handle" or type(payload) is not int:
            raise codec.Malformed(f"an unknown kind {kind!r}"[:100])
        return Remote(self, ["handle", payload])


def _sendable(value: Any) -> list[Any]:
    if isinstance(value, Remote):
        return value._tagged
    if codec.is_iterator(value):
        encode = codec.Encoder(_sendable)
        return ["iterator", [encode(item, 1) for item in value]]
    # Only what the test itself made: a method of a value that came from the program must not void the test.
    if TEST in (getattr(value, "__module__", ""), type(value).__module__):
        raise Unsendable(f"the test gives the program {type(value).__name__} {getattr(value, '__name__', '')}".rstrip())
    raise TypeError(f"a {type(value).__name__} can't be given to the program")


def _exception(raised: Any) -> BaseException:
    """The built-in exception of that name, so that tests which expect one can catch it."""
    if not (isinstance(raised, list) and len(raised) == 2 and all(isinstance(part, str) for part in raised)):
        return ProgramError("something")
    name, text = raised
    cls = getattr(builtins, name, None)
    if not (isinstance(cls, type) and issubclass(cls, BaseException)):
        return ProgramError(text[:300])
    if not issubclass(cls, Exception):
        return ProgramExit(text[:300])
    if issubclass(cls, NOT_PASSED_ON):
        return ProgramError(text[:300])
    try:
        return cls(text[:300].removeprefix(f"{name}: "))
    except TypeError:  # UnicodeDecodeError and such take more
        return ProgramError(text[:300])


def _take_over(mine: Any, new: Any) -> None:
    if type(mine) is not type(new):
        return
    if isinstance(mine, list | bytearray):
        mine[:] = new
    elif isinstance(mine, dict | set):
        mine.clear()
        mine.update(new)
    elif isinstance(mine, collections.deque):
        mine.clear()
        mine.extend(new)
    elif isinstance(mine, tuple) and len(mine) == len(new):
        for ours, theirs in zip(mine, new, strict=True):
            _take_over(ours, theirs)
