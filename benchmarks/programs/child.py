"""How a child takes its job and gives its result: two JSON files. Runs in either environment: standard library only."""

import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def serve(program: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Call it as a program's last line: `python -m benchmarks.programs.NAME job.json result.json`."""
    job, out = map(Path, sys.argv[1:3])
    result = program(json.loads(job.read_text()))
    partial = out.with_suffix(".partial")
    partial.write_text(json.dumps(result))
    os.replace(partial, out)


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of these packages."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found
