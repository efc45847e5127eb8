"""The peers' own environment: pinned, apart from this project's, made when it is missing or its pins have changed."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.children import ROOT
from benchmarks.errors import BenchmarkError

VARIABLE = "GEMMA_ALIGN_BENCH_PYTHON"  # the python of an environment that is already there
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
ENVIRONMENT = ROOT / ".venv-bench"


def peer_python(say: Callable[[str], None]) -> Path:
    """The peers' python.

    Raises:
        BenchmarkError: the environment can't be made.
    """
    given = os.environ.get(VARIABLE)
    if given:
        path = Path(given).expanduser().absolute()
        if not path.is_file():
            raise BenchmarkError(f"{VARIABLE}={given}: a python executable was wanted there")
        return path
    python, ready = ENVIRONMENT / "bin" / "python", ENVIRONMENT / ".ready"
    pins = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if python.exists() and ready.exists() and ready.read_text() == pins:
        return python
    say(f"setting up the peers in {ENVIRONMENT.name} (several minutes: llama.cpp is compiled for this machine)")
    _call([sys.executable, "-m", "venv", str(ENVIRONMENT)], "make the environment")
    _call([str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], "install the peers")
    ready.write_text(pins)
    return python


def _call(command: list[str], what: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise BenchmarkError(
            f"couldn't {what}: `{' '.join(command)}` ended with status {done.returncode}. llama-cpp-python needs a C++ "
            f"compiler; the rest needs a package index.\n{tail}"
        )
