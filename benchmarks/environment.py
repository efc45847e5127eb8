"""The peers' own environments: pinned, apart from this project's, made when missing or when their pins have changed."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.children import ROOT
from benchmarks.errors import BenchmarkError


@dataclass(frozen=True, slots=True)
class Environment:
    """Where some peers live.

    variable      names the python of an environment that is already there
    requirements  their pins
    folder        where it is made otherwise
    told          how long that takes, for people
    """

    variable: str
    requirements: Path
    folder: Path
    told: str


PEERS = Environment(
    "GEMMA_ALIGN_BENCH_PYTHON",
    Path(__file__).parent / "requirements.txt",
    ROOT / ".venv-bench",
    "several minutes: llama.cpp is compiled for this machine",
)
PPO_PEER = Environment(
    "GEMMA_ALIGN_BENCH_PPO_PYTHON",
    Path(__file__).parent / "requirements-ppo.txt",
    ROOT / ".venv-bench-ppo",
    "a few minutes",
)
ENVIRONMENTS: Mapping[str, Environment] = {
    "sft": PEERS,
    "sampling": PEERS,
    "dpo": PEERS,
    "grpo": PEERS,
    "ppo": PPO_PEER,
}
"""The environment of each workload that has peers."""


def peer_python(environment: Environment, say: Callable[[str], None]) -> Path:
    """The peers' python.

    Raises:
        BenchmarkError: the environment can't be made.
    """
    given = os.environ.get(environment.variable)
    if given:
        path = Path(given).expanduser().absolute()
        if not path.is_file():
            raise BenchmarkError(f"{environment.variable}={given}: a python executable was wanted there")
        return path
    python, ready = environment.folder / "bin" / "python", environment.folder / ".ready"
    pins = hashlib.sha256(environment.requirements.read_bytes()).hexdigest()
    if python.exists() and ready.exists() and ready.read_text() == pins:
        return python
    say(f"setting up the peers in {environment.folder.name} ({environment.told})")
    _call([sys.executable, "-m", "venv", str(environment.folder)], "make the environment")
    _call([str(python), "-m", "pip", "install", "--quiet", "-r", str(environment.requirements)], "install the peers")
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
