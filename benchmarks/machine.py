"""Is anything else running? A ratio taken on a loaded machine says nothing, so none is taken."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.errors import BenchmarkError

MAX_OTHERS = 0.10  # share of all cores that others may use, at the start and during a run that counts
MAX_LOAD = 0.60  # one-minute load average, per core


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_environment() -> dict[str, str]:
    """Environment that gives every child, ours and peers', the same number of threads: one a core."""
    return {name: str(num_cores()) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def busy_seconds() -> float | None:
    """CPU seconds that anything at all has spent since the machine started, all cores; None where it can't be read.

    Steal, which is what a virtual machine's neighbours took, counts as busy: it slows a run like any other load.
    """
    try:
        fields = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except (OSError, ValueError, IndexError):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (fields + [0] * 8)[:8]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def process_seconds() -> dict[int, tuple[str, float]]:
    """CPU seconds and name of every process, by its id."""
    found: dict[int, tuple[str, float]] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            head, _, rest = (folder / "stat").read_text().rpartition(")")
            fields = rest.split()
            found[int(folder.name)] = (head.partition("(")[2], (int(fields[11]) + int(fields[12])) / tick)
        except (OSError, ValueError, IndexError):
            continue  # it ended while being read
    return found


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the machine is. Shares are of all cores."""

    others: float | None
    load_average: float | None  # one minute, per core
    busiest: tuple[tuple[str, int, float], ...] = ()  # name, process id, share of one core


def measure_load(seconds: float = 3.0) -> Load:
    """What everything but this process uses, over that many seconds."""
    cores, mine = num_cores(), os.getpid()
    before, processes, own = busy_seconds(), process_seconds(), time.process_time()
    time.sleep(seconds)
    after, now, own = busy_seconds(), process_seconds(), time.process_time() - own
    others = None if before is None or after is None else max(after - before - own, 0.0) / seconds / cores
    used = [
        (name, pid, (spent - processes.get(pid, ("", 0.0))[1]) / seconds)
        for pid, (name, spent) in now.items()
        if pid != mine
    ]
    busiest = tuple(sorted((entry for entry in used if entry[2] > 0.02), key=lambda entry: -entry[2])[:5])
    average = os.getloadavg()[0] / cores if hasattr(os, "getloadavg") else None
    return Load(others, average, busiest)


def complaint(load: Load) -> str | None:
    """Why nothing can be measured under this load; None where it can."""
    names = ", ".join(f"{name} (process {pid}, {share:.0%} of a core)" for name, pid, share in load.busiest)
    if load.others is not None and load.others > MAX_OTHERS:
        used = f"{load.others:.0%} of the cores (at most {MAX_OTHERS:.0%} is allowed)"
        return f"other work uses {used}: {names or 'unseen'}"
    if load.load_average is not None and load.load_average > MAX_LOAD:
        return (
            f"the load average of the last minute is {load.load_average:.2f} a core (at most {MAX_LOAD} is allowed)"
            + (f": {names}" if names else "; nothing runs now, so wait a minute")
        )
    return None


def require_quiet(wait: float = 0.0) -> Load:
    """The load, if it is low enough; waits up to `wait` seconds for it (our own set-up may just have ended).

    Raises:
        BenchmarkError: the machine is loaded, and by what.
    """
    deadline = time.monotonic() + wait
    while True:
        load = measure_load()
        reason = complaint(load)
        if reason is None:
            return load
        if time.monotonic() >= deadline:
            raise BenchmarkError(
                f"the machine is loaded: {reason}. Ratios taken now would mean nothing: stop the other work and run "
                "this again (--anyway measures all the same and marks the results as not quiet)"
            )


def describe() -> dict[str, object]:
    """The machine, as it is written beside every result."""
    model = platform.processor() or platform.machine()
    flags: set[str] = set()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() == "flags":
                flags = set(value.split())
    except OSError:
        pass
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile")
    return {
        "cpu": model,
        "features": [flag for flag in wanted if flag in flags],
        "cores": num_cores(),
        "memory_gb": round(memory_gb(), 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def memory_gb() -> float:
    """Main memory, in 10^9 bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def today() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def describe_line(machine: Mapping[str, object]) -> str:
    """One line for people."""
    features = machine.get("features") or ()
    assert isinstance(features, Sequence)
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(map(str, features)) or 'no AVX2'}), "
        f"{machine['memory_gb']} GB, {machine['system']}"
    )
