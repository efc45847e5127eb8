"""The `memory` command: the forecast as tables or JSON, what fits on small cards, and a measurement beside it."""

import json
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.table import Table

from gemma_align.config import Config
from gemma_align.errors import UserError
from gemma_align.experiments.memory.forecast import (
    BUDGETS,
    CONTEXT_GB,
    FRAGMENTATION,
    ROWS,
    Device,
    Fit,
    Forecast,
    fits,
    forecast,
)
from gemma_align.experiments.memory.measure import Measured, measure
from gemma_align.experiments.memory.tracker import KINDS
from gemma_align.models.devices import resolve_device


def memory(config: Config, *, device: str | None = None, as_json: bool = False, measured: bool = False) -> None:
    """Prints the forecast of a configuration.

    Args:
        config: a checked configuration.
        device: "cpu" or "cuda", which needn't be there; None: where the run would go here.
        as_json: JSON instead of tables.
        measured: run the same steps for real on the CPU too, and compare.

    Raises:
        UserError: no such device, a checkpoint whose shapes can't be had, or a measured run that failed.
    """
    place = choose_device(config, device)
    if measured and place != "cpu":
        raise UserError("--measure compares with a run on the CPU: give --device cpu too")
    told = forecast(config, place)
    real = measure(config) if measured else None
    fitting = fits(config)
    if as_json:
        print(json.dumps(_as_json(told, real, fitting), indent=2))
    else:
        Console(highlight=False).print(_page(told, real, fitting))


def choose_device(config: Config, device: str | None) -> Device:
    """The device that was asked for, or the one a run would take here; MPS shares the CPU's memory.

    Raises:
        UserError: neither "cpu" nor "cuda".
    """
    if device not in (None, "cpu", "cuda"):
        raise UserError(f"--device: wanted cpu or cuda, given {device!r}")
    name = device or (config.model.device if config.model.device != "auto" else resolve_device("auto").type)
    return "cuda" if name == "cuda" else "cpu"


def compared(told: Forecast, real: Measured) -> dict[str, tuple[int, int, float]]:
    """Of each phase after loading, and of all: forecast with what is resident besides tensors, measured, error.

    A phase that takes little is measured with what the allocator has kept from the phase before.
    """
    pairs = {p.name: (p.peak_bytes, real.phases[p.name]) for p in told.phases if p.name in real.phases}
    pairs["whole run"] = (told.peak_bytes, max(real.phases.values()))
    del pairs["load"]
    return {
        name: (peak + real.besides, found, (peak + real.besides) / found - 1) for name, (peak, found) in pairs.items()
    }


def _page(told: Forecast, real: Measured | None, fitting: tuple[Fit, ...]) -> Group:
    parts: list[Any] = [_phases(told), f"Assumed: {told.assumed}."]
    if told.device == "cuda":
        parts.append(
            f"A card needs {_gb(told.needed_bytes())} GB for it: the peak, {CONTEXT_GB} GB for CUDA itself, and "
            f"{FRAGMENTATION:.0%} of what isn't weights for fragmentation."
        )
    if real is not None:
        parts += [
            _comparison(told, real),
            f"The forecast has {_gb(real.besides)} GB added, resident besides tensors.",
        ]
    return Group(*parts, _fits(fitting), "Batch size takes no memory: a batch is split into microbatches.")


def _phases(told: Forecast) -> Table:
    kinds = [kind for kind in KINDS if any(phase.by_kind[kind] for phase in told.phases)]
    table = Table(title=f"Peak memory by phase, GB, {told.precision} on {told.device}")
    table.add_column("phase")
    for name in ("peak", *kinds):
        table.add_column(name, justify="right")
    for phase in told.phases:
        style = "bold" if phase.peak_bytes == told.peak_bytes else None
        table.add_row(phase.name, _gb(phase.peak_bytes), *(_gb(phase.by_kind[kind]) for kind in kinds), style=style)
    return table


def _comparison(told: Forecast, real: Measured) -> Table:
    table = Table(title="Resident memory on this CPU, GB")
    table.add_column("phase")
    for name in ("forecast", "measured", "error"):
        table.add_column(name, justify="right")
    for phase, (expected, found, error) in compared(told, real).items():
        table.add_row(phase, _gb(expected), _gb(found), f"{error:+.1%}")
    return table


def _fits(fitting: tuple[Fit, ...]) -> Table:
    table = Table(title="The most that fits on a card")
    table.add_column("card")
    table.add_column("training.max_tokens_per_microbatch", justify="right")
    table.add_column("evaluation.num_rows", justify="right")
    for fit in fitting:
        tokens, rows = _found(fit.max_tokens_per_microbatch, BUDGETS), _found(fit.num_rows, ROWS)
        table.add_row(f"{fit.card_gb:g} GB", tokens, rows)
    return table


def _as_json(told: Forecast, real: Measured | None, fitting: tuple[Fit, ...]) -> dict[str, Any]:
    value: dict[str, Any] = {"forecast": told.as_json(), "fits": [asdict(fit) for fit in fitting]}
    if real is not None:
        value["measured"] = asdict(real)
        value["compared"] = {
            phase: {"forecast_bytes": expected, "measured_bytes": found, "error": error}
            for phase, (expected, found, error) in compared(told, real).items()
        }
    return value


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f}"


def _found(value: int | None, tried: tuple[int, ...]) -> str:
    return "none" if value is None else f"{value:,} or more" if value == tried[-1] else f"{value:,}"
