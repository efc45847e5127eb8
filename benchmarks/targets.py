"""What was to be reached on two cores, real weights, float32, MTS-Dialog; the page says what was."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One number to reach.

    value     of a row, None where the row lacks it
    goal      what it is held against; the value must be at least that, or at most where `at_most` says so
    """

    text: str
    applies: Callable[[Row], bool]
    value: Callable[[Row], float | None]
    goal: float
    at_most: bool = False


def _ratio(row: Row) -> float | None:
    return row["ratio"]


def _fastest(group: str) -> Callable[[Row], bool]:
    """The row in which the peer runs at the fastest of the documented settings that were measured."""
    return lambda row: row["group"] == group and row["best"]


def _memory_share(row: Row) -> float | None:
    return None if row["peer_peak_gb"] is None else row["ours_peak_gb"] / row["peer_peak_gb"]


def _sampling(ours: str, peer: str, rows: int | None = None) -> Callable[[Row], bool]:
    def applies(row: Row) -> bool:
        fits = row["group"] == "sampling" and row["ours"] == ours and row["peer_key"] == peer
        return fits and (rows is None or row["rows"] == rows)

    return applies


_PLAIN = "transformers generate"
_SHARED = "transformers generate, prompt shared"

TARGETS: Sequence[Target] = (
    Target(
        "SFT: at least 5 times TRL's rate at its best documented settings",
        lambda row: row["group"] == "sft" and row["documented"],
        _ratio,
        5.0,
    ),
    Target(
        "SFT: at most 40 % of TRL's peak memory",
        lambda row: row["group"] == "sft" and row["documented"],
        _memory_share,
        0.4,
        at_most=True,
    ),
    Target("sampling, 16 rows, exact: at least 2.5 times `generate`", _sampling("exact", _PLAIN, 16), _ratio, 2.5),
    Target(
        "sampling, 16 rows, exact: at least 2.5 times `generate` with the prompt computed once",
        _sampling("exact", _SHARED, 16),
        _ratio,
        2.5,
    ),
    Target(
        "sampling, 16 rows, int8 head: at least 3.5 times `generate`", _sampling("int8 head", _PLAIN, 16), _ratio, 3.5
    ),
    Target(
        "sampling, 16 rows, int8 head: at least 3.5 times `generate` with the prompt computed once",
        _sampling("int8 head", _SHARED, 16),
        _ratio,
        3.5,
    ),
    Target(
        "sampling, 16 rows, exact (stretch): past llama.cpp in float32",
        _sampling("exact", "llama.cpp float32", 16),
        _ratio,
        1.0,
    ),
    Target(
        "update: at most 1.5 times the floor",
        lambda row: row["group"] == "update",
        lambda row: row["times_floor"],
        1.5,
        at_most=True,
    ),
    *(
        Target(
            f"{label}: at least {times:g} times {peer} at its best documented settings", _fastest(group), _ratio, times
        )
        for label, group, times, peer in (
            ("DPO", "dpo", 6.0, "TRL's step"),
            ("DPO (stretch)", "dpo", 8.0, "TRL's step"),
            ("GRPO", "grpo", 4.0, "TRL's step"),
            ("GRPO (stretch)", "grpo", 5.0, "TRL's step"),
            ("PPO", "ppo", 3.0, "the step of TRL 1.12, the last release that has it,"),
        )
    ),
    *(
        Target(
            f"{group.upper()}: at most a third of the peak memory of TRL at its best documented settings",
            _fastest(group),
            _memory_share,
            1 / 3,
            at_most=True,
        )
        for group in ("dpo", "grpo", "ppo")
    ),
    Target(
        "peak resident memory: at most 3 GB in every workload of 16 rows or of training",
        lambda row: row.get("rows", 16) == 16,
        lambda row: row["ours_peak_gb"],
        3.0,
        at_most=True,
    ),
)


def verdicts(rows: Sequence[Row]) -> list[tuple[Target, float, bool]]:
    """Each target that rows speak of, with the worst value and whether all rows meet it."""
    found = []
    for target in TARGETS:
        values = [v for row in rows if target.applies(row) for v in [target.value(row)] if v is not None]
        if values:
            worst = max(values) if target.at_most else min(values)
            found.append((target, worst, worst <= target.goal if target.at_most else worst >= target.goal))
    return found
