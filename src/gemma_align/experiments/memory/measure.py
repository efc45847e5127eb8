"""The forecast's steps for real on the CPU, in a process of their own whose resident memory the kernel tells.

What a process has besides tensors (interpreter, libraries, tokenizer) no forecast of tensors knows. It is measured, as
what is resident beyond the weights after loading and one tiny step, and added to the forecast before the two are
compared.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

import gemma_align
from gemma_align.config import Config
from gemma_align.errors import UserError


@dataclass(frozen=True, slots=True)
class Measured:
    """Resident memory in bytes.

    Attributes:
        besides: of interpreter, libraries and tokenizer: what was resident before the first step, less the weights.
        phases: the peak of each phase.
    """

    besides: int
    phases: Mapping[str, int]


def measure(config: Config) -> Measured:
    """Runs the worst case of a configuration on the CPU and says what it took.

    Raises:
        UserError: the process failed; says how.
    """
    on_cpu = config.model_copy(update={"model": config.model.model_copy(update={"device": "cpu"})})
    ours = str(Path(gemma_align.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-m", "gemma_align.experiments.memory.measure"],
        input=on_cpu.model_dump_json(),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
        raise UserError(f"the measured run failed (status {done.returncode}): {last}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Measured(found["besides"], found["phases"])


class ResidentMemory:
    """Peak resident memory of this process by phase; the peak so far, where the kernel's mark can't be reset."""

    def __init__(self) -> None:
        self.phases: dict[str, int] = {}
        self._phase = "load"
        _reset()

    def enter(self, phase: str) -> None:
        """Ends the phase before."""
        self.phases[self._phase] = max(self.phases.get(self._phase, 0), _status("VmHWM"))
        self._phase = phase
        _reset()

    def mark(self, tensors: Iterable[Tensor], kind: str) -> None:
        """Kinds are not known to the kernel."""

    def mark_alive(self, made_in: str, kind: str) -> None:
        """Kinds are not known to the kernel."""


def _reset() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def main() -> None:
    """Reads a configuration from standard input; the last line of the output is what was measured, as JSON."""
    from gemma_align.data.templates import PromptFormat
    from gemma_align.experiments.memory.forecast import run_stages
    from gemma_align.experiments.memory.shapes import LongestPrompts
    from gemma_align.experiments.memory.steps import evaluate, full_responses
    from gemma_align.models.heap import keep_heap_compact, release_free_memory
    from gemma_align.models.policy import Policy

    config = Config.model_validate_json(sys.stdin.read())
    keep_heap_compact()
    meter = ResidentMemory()
    policy = Policy.load(config.model.for_training(), device="cpu", num_rows=config.evaluation.num_rows)
    policy.prompt_format = cast(PromptFormat, LongestPrompts(config.model.max_length))
    weights = list(policy.model.parameters())
    for weight in weights:
        weight.detach().sum()  # weights are mapped from the file and only come to memory when they are read
    policy.logprobs(full_responses([2])).sum().backward()  # likewise the code of the libraries
    policy.model.zero_grad()
    release_free_memory()
    meter.enter("before the first step")
    besides = _status("VmRSS") - sum(weight.untyped_storage().nbytes() for weight in weights)
    run_stages(policy, config, meter)
    evaluate(policy, config, meter)
    meter.enter("end")
    print(json.dumps({"besides": besides, "phases": meter.phases}))


if __name__ == "__main__":
    main()
