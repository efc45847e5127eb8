"""The workloads by name; `--only NAME` runs one."""

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.workloads import dpo, rl, sampling, sft, update
from benchmarks.workloads.common import Bench

WORKLOADS: Mapping[str, Callable[[Bench], list[dict[str, Any]]]] = {
    "sft": sft.measure,
    "sampling": sampling.measure,
    "update": update.measure,
    "dpo": dpo.measure,
    "grpo": rl.grpo,
    "ppo": rl.ppo,
}
