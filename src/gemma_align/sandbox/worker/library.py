"""The standard library for processes that can't open a file: some of it loaded, more of it as code in memory.

What is loaded costs every fork a little (page tables are copied, five mappings a shared library), so only what small
programs use is; the rest, as far as it is Python, is loaded by a program that asks for it.
"""

import importlib
import importlib.machinery
import marshal
import pkgutil
import sys
import zlib
from collections.abc import Sequence
from types import CodeType, ModuleType
from typing import Any

_LOADED = """
__future__ abc array ast base64 binascii bisect builtins calendar cmath codecs collections collections.abc contextlib
copy csv ctypes dataclasses datetime decimal difflib enum errno fractions functools gc hashlib heapq html io itertools
json keyword locale math numbers operator os pprint queue random re reprlib secrets select signal socket statistics
string struct sys textwrap threading time traceback types typing unicodedata warnings weakref zlib _contextvars
_posixsubprocess _queue _strptime mmap encodings.ascii encodings.latin_1 encodings.utf_16 encodings.utf_32
encodings.cp1252
"""
_IN_MEMORY = """
argparse asyncio bdb cmd code codeop colorsys _compat_pickle _compression concurrent configparser contextvars dis
doctest email encodings fileinput fnmatch getopt gettext glob graphlib gzip hmac inspect ipaddress linecache logging
opcode optparse pathlib pdb pickle pickletools platform quopri sched selectors shlex shutil socketserver stat
stringprep subprocess symtable tempfile timeit token tokenize unittest urllib uuid
"""
LOADED, IN_MEMORY = tuple(_LOADED.split()), tuple(_IN_MEMORY.split())


class Library:
    """An entry of `sys.meta_path` that finds modules in its memory."""

    def __init__(self, code: dict[str, tuple[bytes, bool]]) -> None:
        """code: by module name, the marshalled and compressed code and whether it is a package."""
        self._code = code

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """As the import system asks."""
        if name not in self._code:
            return None
        loader: Any = self  # it does what a loader must, without importlib.abc
        return importlib.machinery.ModuleSpec(name, loader, origin="memory", is_package=self._code[name][1])

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """None: an ordinary module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module's code."""
        code: CodeType = marshal.loads(zlib.decompress(self._code[module.__name__][0]))
        exec(code, module.__dict__)


def install() -> None:
    """Loads what is to be loaded, keeps the code of the rest, and forgets where files are."""
    loaded: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    loaded["_hashlib"] = None  # OpenSSL's: large, and hashlib has algorithms of its own
    for name in LOADED:
        try:
            importlib.import_module(name)
        except ImportError:  # a Python that was built without it
            continue
    library = Library(_code_of(IN_MEMORY))
    sys.path[:] = []
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not importlib.machinery.PathFinder]
    sys.meta_path.append(library)


def _code_of(names: Sequence[str]) -> dict[str, tuple[bytes, bool]]:
    found: dict[str, tuple[bytes, bool]] = {}
    waiting: list[tuple[str, Sequence[str] | None]] = [(name, None) for name in names]
    while waiting:
        name, path = waiting.pop()
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            continue
        code = spec.loader.get_code(name)
        places = spec.submodule_search_locations
        found[name] = (zlib.compress(marshal.dumps(code)), places is not None)
        if places is not None:
            waiting += [(f"{name}.{m.name}", places) for m in pkgutil.iter_modules(places)]
    return found
