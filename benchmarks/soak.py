"""`make soak`: one long run, watched from outside: memory, processes, files, threads, and what checkpoints cost.

    python -m benchmarks.soak [--minutes 60] [--dry] [KEY=VALUE ...]

The run is GRPO on programs with the tiny model, because it has everything at once: rollouts, a reward that runs in
sandbox processes, evaluations, checkpoints, TensorBoard. It is ended as a user ends it, by SIGTERM, and has to say so.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.kept import KEPT, ROOT, keep
from benchmarks.pages import write_block

SETTINGS = (
    "task=code",
    "stages=[{method: grpo, training: {learning_rate: 1e-3, num_epochs: 1000000}}]",
    "training.eval_every=50",
    "checkpoint.every=10",
)
INTERVAL = 2.0  # seconds between two looks
WARM = 0.25  # of the run, which the slope leaves out: caches fill
MB = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="One long run, watched.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--dry", action="store_true", help="print the table, write nothing")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "smoke" / "grpo.yml")
    parser.add_argument("settings", nargs="*", default=SETTINGS, metavar="KEY=VALUE")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        try:
            found = soak(options.config, options.settings, Path(work), 60 * options.minutes)
        except BenchmarkError as error:
            print(error)
            return 1
    print(render(found))
    if not options.dry:
        keep("soak", found)
        write_block(ROOT / "docs" / "reliability.md", "soak", render(json.loads((KEPT / "soak.json").read_text())))
    return 0


def soak(config: Path, settings: Sequence[str], work: Path, seconds: float) -> dict[str, Any]:
    """What was seen of a run of so many seconds."""
    folder, log = work / "run", work / "log"
    command = [sys.executable, "-m", "gemma_align", "run", "--config", str(config), *settings, f"output_dir={folder}"]
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
    looks = []
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").stat().st_size:
        if process.poll() is not None:
            raise BenchmarkError(f"it ended before its first update: {log.read_text()[-2000:]}")
        time.sleep(0.1)
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds and process.poll() is None:
        looks.append({"seconds": now, **look(process.pid)})
        time.sleep(INTERVAL)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    status = process.wait(timeout=600)
    if status != 128 + signal.SIGTERM:
        raise BenchmarkError(f"status {status} where 143 was wanted: {log.read_text()[-2000:]}")
    return {
        "minutes": now / 60,
        "updates": json.loads((folder / "status.json").read_text())["step"],
        "seconds_to_stop": time.monotonic() - asked,
        "mb_an_hour": slope(looks),
        "first": looks[int(WARM * len(looks))],
        "last": looks[-1],
        **checkpoint_cost(folder),
    }


def look(pid: int) -> dict[str, float]:
    """A process now: memory with its children's, and what it has open."""
    family = [pid, *children(pid)]
    status = Path(f"/proc/{pid}/status").read_text()
    return {
        "mb": sum(resident(one) for one in family) / MB,
        "processes": len(family),
        "threads": int(status.split("Threads:")[1].split()[0]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def children(pid: int) -> list[int]:
    direct: list[int] = []
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it has ended since it was listed
        return []
    for thread in threads:  # a child is listed under the thread that started it
        with suppress(OSError):  # the thread has ended
            direct += map(int, (thread / "children").read_text().split())
    return [*direct, *(grandchild for child in direct for grandchild in children(child))]


def resident(pid: int) -> int:
    """Bytes; 0 once the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


def slope(looks: Sequence[dict[str, float]]) -> float:
    """Of memory, in MB an hour, by least squares after the warm-up."""
    warm = looks[int(WARM * len(looks)) :]
    hours = np.array([one["seconds"] for one in warm]) / 3600
    return float(np.polyfit(hours, [one["mb"] for one in warm], 1)[0])


def checkpoint_cost(folder: Path) -> dict[str, float]:
    """Of saving, by the run's own clock, and of reading one back with all its checks."""
    from gemma_align.trainers.checkpointing import latest_checkpoint, load_checkpoint_state

    times = [json.loads(line)["seconds"] for line in (folder / "timings.jsonl").read_text().splitlines()]
    saves = [phases["checkpoint"] for phases in times if "checkpoint" in phases]
    began = time.monotonic()
    newest = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    load_checkpoint_state(newest)
    return {
        "checkpoint_seconds": float(np.mean(saves)),
        "checkpoint_share": sum(saves) / sum(phases["total"] for phases in times),
        "checkpoint_bytes": sum(path.stat().st_size for path in newest.rglob("*") if path.is_file()),
        "resume_seconds": time.monotonic() - began,
    }


def render(found: dict[str, Any]) -> str:
    first, last = found["first"], found["last"]
    counts = ", ".join(f"{first[name]:.0f} and {last[name]:.0f} {name}" for name in ("processes", "threads", "files"))
    return (
        f"{found['minutes']:.0f} minutes, {found['updates']:,} updates: memory {first['mb']:.0f} MB after the warm-up "
        f"and {last['mb']:.0f} MB at the end, {found['mb_an_hour']:+.1f} MB an hour; {counts}. A checkpoint "
        f"({found['checkpoint_bytes'] / MB:.2f} MB) took {found['checkpoint_seconds']:.3f} s, "
        f"{100 * found['checkpoint_share']:.1f} % of the run; reading it back, checked, took "
        f"{found['resume_seconds']:.3f} s. SIGTERM ended the run in {found['seconds_to_stop']:.1f} s.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
