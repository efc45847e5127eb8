"""The whole state of a training loop as ONE object, and how it becomes safetensors and JSON: no pickle, bit for bit.

A tree of dictionaries, lists, tuples, plain values, tensors and arrays is split in two:

    tensors   a flat {"optimizer/state/0/exp_avg": Tensor, ...}        -> state.safetensors
    plain     the same tree in JSON, with a marker where a tensor was   -> state.json

JSON has no tuples, no keys other than strings and no infinities, and each of them occurs in an optimizer or a random
state. A dictionary with one key that starts with "$" stands for what JSON lacks:

    {"$tensor": name}   {"$array": name}   {"$tuple": [...]}   {"$dict": [[key, value], ...]}   {"$float": "nan"}
"""

import logging
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation so far: which measure, its value, and the step it was reached at."""

    measure: str
    value: float
    step: int


@dataclass(kw_only=True)
class LoopState:
    """All that a training loop needs to go on as if it had never stopped.

    Taken between two updates and never inside one, so no rollout is in flight: what a kill interrupts is sampled
    again from the random states kept here. The order of the examples and the learning rate are functions of the
    configuration and `stage_step`, so neither needs a state of its own. Tensors are held by reference: save before
    the next update changes them.
    """

    stage: int = 0  # which of the run's stages
    step: int = 0  # updates done in the whole run: the x axis of every log, and the checkpoint's name
    stage_step: int = 0  # updates done in this stage
    examples_seen: int = 0  # examples taken in this stage
    tokens_seen: int = 0  # tokens trained on in the whole run
    skipped: int = 0  # optimizer steps of this stage that were left out because something was not finite
    rate_scale: float = 1.0  # what the stability monitor multiplied this stage's learning rate by
    stopped: bool = False  # the stability monitor ended the run
    monitor: dict[str, Any] = field(default_factory=dict)  # monitor.state_dict() of this stage
    best: Best | None = None
    model: dict[str, Tensor] = field(default_factory=dict)  # all weights that the base checkpoint can't give back
    optimizer: dict[str, Any] = field(default_factory=dict)  # optimizer.state_dict()
    algorithm: dict[str, Any] = field(default_factory=dict)  # algorithm.state_dict(): running statistics
    rng: list[dict[str, Any]] = field(default_factory=list)  # capture_rng() of each process, in the order of ranks
    logs: dict[str, int] = field(default_factory=dict)  # bytes of each log file at this point; a resumed run cuts there
    log_sums: dict[str, str] = field(default_factory=dict)  # SHA-256 of those bytes

    def flatten(self) -> tuple[dict[str, Tensor], Any]:
        """As (tensors, JSON value)."""
        tree = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.best is not None:
            tree["best"] = {"measure": self.best.measure, "value": self.best.value, "step": self.best.step}
        return flatten(tree)

    @classmethod
    def unflatten(cls, tensors: Mapping[str, Tensor], plain: Any) -> Self:
        """The state that `flatten` took apart. KeyError, TypeError or ValueError for anything else."""
        tree = unflatten(tensors, plain)
        if not isinstance(tree, dict) or set(tree) != {f.name for f in fields(cls)}:
            raise ValueError("not the state of a training loop, or one of another version")
        if tree["best"] is not None:
            tree["best"] = Best(**tree["best"])
        return cls(**tree)


def flatten(tree: Any) -> tuple[dict[str, Tensor], Any]:
    """Split a tree into ({name: tensor on the CPU}, JSON value). TypeError for a value that has no place in either."""
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()

    def store(path: str, tensor: Tensor) -> str:
        name = path or "value"
        while name in tensors:  # {"a": {"b": x}, "a/b": y}
            name += "'"
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in storages:  # safetensors refuses tensors that share memory
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
        return name

    def encode(value: Any, path: str) -> Any:
        match value:
            case None | bool() | str():
                return value
            case int():
                return int(value)
            case float():
                return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
            case Tensor():
                return {"$tensor": store(path, value)}
            case np.ndarray():
                return {"$array": store(path, torch.from_numpy(np.array(value, order="C")))}
            case tuple():
                return {"$tuple": [encode(item, f"{path}/{i}") for i, item in enumerate(value)]}
            case list():
                return [encode(item, f"{path}/{i}") for i, item in enumerate(value)]
            case Mapping():
                prefix = f"{path}/" if path else ""
                if all(isinstance(key, str) and not key.startswith("$") for key in value):
                    return {key: encode(item, f"{prefix}{key}") for key, item in value.items()}
                return {"$dict": [[encode(k, path), encode(v, f"{prefix}{k}")] for k, v in value.items()]}
        kind = type(value).__name__
        raise TypeError(f"{path or 'the state'} is a {kind}: a checkpoint holds tensors and plain values")

    return tensors, encode(tree, "")


def unflatten(tensors: Mapping[str, Tensor], plain: Any) -> Any:
    """Put together what `flatten` took apart. KeyError for a tensor that isn't there."""

    def decode(value: Any) -> Any:
        match value:
            case list():
                return [decode(item) for item in value]
            case {"$tensor": str(name)}:
                return tensors[name]
            case {"$array": str(name)}:
                return tensors[name].numpy()
            case {"$tuple": list(items)}:
                return tuple(decode(item) for item in items)
            case {"$dict": list(pairs)}:
                return {decode(key): decode(item) for key, item in pairs}
            case {"$float": str(text)}:
                return float(text)
            case dict():
                return {key: decode(item) for key, item in value.items()}
        return value

    return decode(plain)


def capture_rng() -> dict[str, Any]:
    """The random states of this process: python, numpy, torch on the CPU and on the accelerator in use, if any."""
    device = _accelerator()
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "device": device,
        "device_state": None if device is None else getattr(torch, device).get_rng_state(),
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Set the random states that `capture_rng` read. An accelerator that isn't there is warned of and left out."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    device = _accelerator()
    if device != state["device"]:
        log.warning(
            "this run was on %s and goes on on %s: it will not be bit-identical to one that never stopped",
            state["device"] or "cpu",
            device or "cpu",
        )
    elif device is not None:
        getattr(torch, device).set_rng_state(state["device_state"])


def _accelerator() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None
