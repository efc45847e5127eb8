"""What all workloads share: where things are, and how runs become a row of results.json."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.children import FOLDER, Contestant, run
from benchmarks.floor import Shape, shape_of
from benchmarks.machine import num_cores
from benchmarks.rounds import Timings, ratio, ratio_range, spread

# Keeps freed memory instead of giving it back to the system: the large temporaries of torch's operators then cost no
# page faults. PyTorch's tuning guide advises another allocator to the same end; this is what glibc itself offers.
KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "67108864",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One of the settings that a peer is measured at.

    job          fields of its program's job
    environment  of its process
    """

    job: Mapping[str, int]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def documented(self) -> bool:
        """Whether the peer's own documentation has all of it, which says nothing of the allocator."""
        return not self.environment


@dataclass(frozen=True)
class Bench:
    """One call of `python -m benchmarks`."""

    peer_pythons: Mapping[str, Path]  # by group; none for one in which only ours is run
    checkpoint: str
    num_rounds: int
    say: Callable[[str], None]
    facts: Mapping[str, Any]  # machine, date, command: written into every row
    repeat_disturbed: bool = True
    num_examples: int = 48
    batch_sizes: tuple[int, ...] = (2, 4, 8)  # prompts side by side while sampling
    num_pairs: int = 16  # of DPO
    profile: bool = False

    @cached_property
    def prepared(self) -> dict[str, Any]:
        """Token ids, weights and the starting adapter, made once; see programs/ours_prepare.py."""
        job = {
            "checkpoint": self.checkpoint,
            "folder": str(FOLDER),
            "num_examples": self.num_examples,
            "num_prompts": max(self.batch_sizes),
            "num_pairs": self.num_pairs,
        }
        self.say("preparing token ids and weights")
        return run(Contestant("prepare", "ours_prepare", job)).result

    @cached_property
    def gguf(self) -> dict[str, Any]:
        """The bundled weights as GGUF files, by kind; see programs/ours_gguf.py."""
        self.say("writing the weights as GGUF files")
        return run(Contestant("gguf", "ours_gguf", {"folder": str(FOLDER)})).result

    @cached_property
    def shape(self) -> Shape:
        """Of the model that is measured."""
        return shape_of(json.loads((Path(self.prepared["model"]) / "config.json").read_text()))

    @property
    def threads(self) -> int:
        return num_cores()

    def peer(self, group: str, name: str, program: str, job: Mapping[str, Any], **environment: str) -> Contestant:
        """A program of the environment that this group's peers live in."""
        return Contestant(name, program, job, self.peer_pythons[group], environment)

    def run_profile(self, contestant: Contestant) -> None:
        """Runs it once under torch's profiler and says where the table is."""
        target = FOLDER / f"profile-{contestant.program}.txt"
        run(Contestant(contestant.name, contestant.program, {**contestant.job, "profile": str(target)}))
        self.say(f"profile of {contestant.name}: {target}")
        self.say(target.read_text())


def best(rates: Mapping[str, float]) -> float:
    """Operations a second of the fastest kernel; rates come in GFLOP/s."""
    return max(rates.values()) * 1e9


def times_floor(runs: Timings, floor: Callable[[Mapping[str, Any]], float]) -> float:
    """Median over the runs of time by floor, each run's floor from the rates measured in that run."""
    return median(
        seconds / floor(result["rates"])  # type: ignore[arg-type]
        for seconds, result in zip(runs.seconds, runs.results, strict=True)
    )


def row(
    bench: Bench,
    group: str,
    workload: str,
    ours: tuple[str, Timings],
    peer: tuple[str, Timings] | None,
    floor: Callable[[Mapping[str, Any]], float],
    **extra: Any,
) -> dict[str, Any]:
    """One row. Seconds are medians, peaks the highest of all runs; `peer` is None where nothing is compared."""
    name, mine = ours
    found: dict[str, Any] = {
        "workload": workload,
        "peer": None if peer is None else peer[0],
        "ratio": None,
        "ours_seconds": mine.median,
        "peer_seconds": None,
        "ours_peak_gb": mine.peak_gb,
        "peer_peak_gb": None,
        "times_floor": times_floor(mine, floor),
        "command": bench.facts["command"],
        "group": group,
        "ours": name,
        "ours_timings": list(mine.seconds),
        "ours_spread": spread(mine.seconds),
        "ours_settings": mine.results[0].get("settings"),
        "ours_versions": mine.results[0].get("versions"),
        "rates": mine.results[0].get("rates"),
        "quiet": mine.quiet and (peer is None or peer[1].quiet),
        "data": bench.prepared["data"],
        "checkpoint": bench.prepared["checkpoint"]["spec"],
        "machine": bench.facts["machine"],
        "date": bench.facts["date"],
    }
    if peer is not None:
        theirs = peer[1]
        found |= {
            "ratio": ratio(mine, theirs),
            "ratio_range": list(ratio_range(mine, theirs)),
            "peer_seconds": theirs.median,
            "peer_peak_gb": theirs.peak_gb,
            "peer_timings": list(theirs.seconds),
            "peer_spread": spread(theirs.seconds),
            "peer_settings": theirs.results[0].get("settings"),
            "peer_versions": theirs.results[0].get("versions"),
        }
    return found | extra


def fastest_marked(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one workload against one peer at several settings; `best` marks its fastest documented one."""
    least = min((found["peer_seconds"] for found in rows if found["documented"]), default=None)
    return [found | {"best": found["documented"] and found["peer_seconds"] == least} for found in rows]


def version(runs: Timings, package: str) -> str:
    """Of a package in a peer's environment."""
    versions = runs.results[0].get("versions", {})
    assert isinstance(versions, dict)
    return str(versions.get(package, "?"))
