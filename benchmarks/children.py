"""One program in a process of its own. What it measured comes back with what it used."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.machine import busy_seconds, num_cores, threads_environment

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "benchmarks"  # exported weights, jobs, logs; ignored by git, removed by `make clean`


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program to run and the python to run it with."""

    name: str
    program: str  # a module of benchmarks.programs
    job: Mapping[str, Any]
    python: Path = Path(sys.executable)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a contestant."""

    result: dict[str, Any]  # what the program reported; "seconds" is the time of the work alone
    peak_gb: float  # most memory resident at once, weights, code and all, in 10^9 bytes
    others: float | None  # share of all cores that anything else used meanwhile


def run(contestant: Contestant, timeout: float = 3600.0) -> Run:
    """Runs the program and waits for it.

    Raises:
        BenchmarkError: it failed; the message ends with the last lines it wrote.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    slug = "".join(c if c.isalnum() else "-" for c in contestant.name).strip("-").lower()
    job, out, log = (FOLDER / f"{slug}.{suffix}" for suffix in ("job.json", "result.json", "log"))
    job.write_text(json.dumps(contestant.job))
    out.unlink(missing_ok=True)

    is_peer = contestant.python != Path(sys.executable)
    environment = {k: v for k, v in os.environ.items() if not (is_peer and k in ("PYTHONPATH", "VIRTUAL_ENV"))}
    environment |= threads_environment() | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment |= contestant.environment
    command = [str(contestant.python), "-m", f"benchmarks.programs.{contestant.program}", str(job), str(out)]

    started, busy = time.monotonic(), busy_seconds()
    with log.open("wb") as sink:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        timer = Timer(timeout, child.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    elapsed, now = time.monotonic() - started, busy_seconds()

    if child.returncode != 0 or not out.exists():
        raise BenchmarkError(_failure(contestant, child.returncode, elapsed >= timeout, log))
    others = None
    if busy is not None and now is not None:
        others = max(now - busy - usage.ru_utime - usage.ru_stime, 0.0) / elapsed / num_cores()
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    result = json.loads(out.read_text())
    # Ours goes on to measure rates once its work is done, and gives the same number as it stood before.
    peak = result.get("peak_gb", usage.ru_maxrss * unit / 1e9)
    return Run(result, peak, others)


def _failure(contestant: Contestant, code: int, timed_out: bool, log: Path) -> str:
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    how = "took too long" if timed_out else f"ended with status {code}"
    if code == -9 and not timed_out:
        how = "was killed, most likely because the memory ran out"
    return f"{contestant.name} {how} (program {contestant.program}, log {log}):\n{tail}"
