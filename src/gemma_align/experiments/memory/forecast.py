"""The forecast: the run's own steps go through without values while a tracker counts what would be alive.

So it follows the code, and needs neither the weights nor a card. What a tracker of tensors can't see is added as a
stated allowance on a card, and compared with a measurement on a CPU.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

import torch

from gemma_align.config import Config, Stage
from gemma_align.core import attention
from gemma_align.experiments.memory.pretend import pretend
from gemma_align.experiments.memory.shapes import architecture, materialize, policy_of_shapes
from gemma_align.experiments.memory.steps import TRAIN, Meter, evaluate, row_lengths
from gemma_align.experiments.memory.tracker import WEIGHTS, MemoryTracker, peaks
from gemma_align.models.policy import Policy

Device = Literal["cpu", "cuda"]

CARDS_GB = (6, 8)
CONTEXT_GB = 0.6
"""Of a card, for CUDA's context, its kernels and the libraries' work space."""
FRAGMENTATION = 0.1
"""Of everything but weights: holes in the allocator's blocks, and what kernels take for themselves."""
BUDGETS = tuple(2**k for k in range(8, 16))
ROWS = tuple(2**k for k in range(9))


@dataclass(frozen=True, slots=True)
class Phase:
    """The most a phase takes, in bytes, and what for."""

    name: str
    peak_bytes: int
    by_kind: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a configuration takes on a device.

    Attributes:
        device: "cpu" or "cuda".
        precision: of the weights.
        assumed: the worst case that was gone through, in words.
        phases: in the order of the run.
    """

    device: Device
    precision: str
    assumed: str
    phases: tuple[Phase, ...]

    @property
    def peak_bytes(self) -> int:
        """The most of all phases."""
        return max(phase.peak_bytes for phase in self.phases)

    def needed_bytes(self) -> int:
        """On a card: the peak and the allowances."""
        highest = max(self.phases, key=lambda phase: phase.peak_bytes)
        return needed_on_card(highest.peak_bytes, highest.by_kind[WEIGHTS])

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        card = {"needed_bytes": self.needed_bytes()} if self.device == "cuda" else {}
        return asdict(self) | {"peak_bytes": self.peak_bytes} | card


@dataclass(frozen=True, slots=True)
class Fit:
    """The largest powers of two that fit on a card, or None where not even the smallest does.

    Attributes:
        card_gb: size of the card, 10^9 bytes.
        max_tokens_per_microbatch: for training. Batch size takes no memory, as batches are split by this.
        num_rows: responses decoded side by side.
    """

    card_gb: float
    max_tokens_per_microbatch: int | None
    num_rows: int | None


def needed_on_card(peak: int, weights: int) -> int:
    """Bytes of a card for a peak of tensors, of which some are weights."""
    return int(peak + CONTEXT_GB * 1e9 + FRAGMENTATION * (peak - weights))


def precision(config: Config, device: Device) -> torch.dtype:
    """As the run would choose on that device, taking for granted that a card has bf16."""
    wanted = config.model.for_training().precision
    half = wanted == "bf16" or (wanted == "auto" and device == "cuda")
    return torch.bfloat16 if half else torch.float32


def run_stages(policy: Policy, config: Config, meter: Meter) -> None:
    """The updates of all stages."""
    for stage in config.stages:
        staged = config.for_stage(stage)
        training = staged.training
        policy.recompute_above(0 if training.gradient_checkpointing else training.max_tokens_per_microbatch)
        TRAIN[stage.method](policy, staged, meter)
        gc.collect()  # what a stage leaves in cycles goes now, and not in whichever phase the collector comes round


def forecast(
    config: Config,
    device: Device,
    steps: Sequence[Callable[[Policy, Config, Meter], None]] = (run_stages, evaluate),
) -> Forecast:
    """The peak of each phase of a run.

    Args:
        config: the configuration; nothing of it is read from disk but a checkpoint folder's config.json.
        device: "cpu", or "cuda" for a card that needn't be there.
        steps: what the run does after loading.

    Raises:
        CheckpointError: the checkpoint's shapes can't be had.
        ConfigError: LoRA is asked for on modules the model doesn't have.
    """
    dtype = precision(config, device)
    policy = policy_of_shapes(config, architecture(config.model.checkpoint), "meta", dtype)
    tracker = MemoryTracker(block=512 if device == "cuda" else 1)
    attention.visible.cache_clear()  # masks made before aren't alive in a new run, and those made here in no other
    try:
        with pretend(device), tracker:
            materialize(policy.model)
            tracker.mark([*policy.model.parameters(), *policy.model.buffers()], WEIGHTS)
            for step in steps:
                step(policy, config, tracker)
    finally:
        attention.visible.cache_clear()
    return Forecast(
        device,
        str(dtype).removeprefix("torch."),
        assumption(config),
        tuple(Phase(p.phase, p.num_bytes, p.by_kind) for p in peaks(tracker.events)),
    )


def assumption(config: Config) -> str:
    """The worst case in words."""
    budget, longest, settings = config.training.max_tokens_per_microbatch, config.model.max_length, config.evaluation
    alone = f" and one example of {longest} that makes its activations again" if longest > budget else ""
    return (
        f"microbatches of {' + '.join(_grouped(row_lengths(budget, longest)))} tokens{alone}, nearly all response; "
        f"{settings.num_rows} prompts of {config.model.max_length - config.max_new_tokens} tokens decoded side by "
        f"side to {config.max_new_tokens} tokens each"
    )


def _grouped(rows: Sequence[int]) -> list[str]:
    return [f"{rows.count(n)} x {n}" if rows.count(n) > 1 else str(n) for n in dict.fromkeys(rows)]


def fits(config: Config, cards_gb: Sequence[float] = CARDS_GB) -> tuple[Fit, ...]:
    """What fits on cards of these sizes: bf16 unless the configuration wants fp32, everything else as it says."""

    @cache
    def training(tokens: int) -> int:
        return forecast(_with_budget(config, tokens), "cuda", (run_stages,)).needed_bytes()

    @cache
    def sampling(rows: int) -> int:
        settings = config.evaluation.model_copy(update={"num_rows": rows})
        return forecast(config.model_copy(update={"evaluation": settings}), "cuda", (evaluate,)).needed_bytes()

    return tuple(
        Fit(card, largest(BUDGETS, training, int(card * 1e9)), largest(ROWS, sampling, int(card * 1e9)))
        for card in cards_gb
    )


def _with_budget(config: Config, tokens: int) -> Config:
    """The configuration with another token budget, in its stages too."""
    changed = {"max_tokens_per_microbatch": tokens}

    def with_budget(stage: Stage) -> Stage:
        if stage.training is None:
            return stage
        return stage.model_copy(update={"training": stage.training.model_copy(update=changed)})

    stages = tuple(map(with_budget, config.stages))
    return config.model_copy(update={"training": config.training.model_copy(update=changed), "stages": stages})


def largest(candidates: Sequence[int], needed: Callable[[int], int], limit: int) -> int | None:
    """The last of the ascending candidates that needs no more than the limit; the need grows with the candidate."""
    low, high = -1, len(candidates)  # candidates up to low fit, from high on they don't
    while high - low > 1:
        middle = (low + high) // 2
        if needed(candidates[middle]) <= limit:
            low = middle
        else:
            high = middle
    return candidates[low] if low >= 0 else None
