"""Counts the bytes of all tensors alive, operation by operation, and says when and for what they were most.

Every storage is followed from the operation that made it until it is freed. What a storage was for is often known only
later (what is alive at the end of the forward pass was kept for the backward pass), so the tracker writes down events
and the peaks are read off afterwards, when every storage has its kind.

It sees what PyTorch allocates for tensors. What a kernel takes and gives back within one operation it doesn't see.
"""

import sys
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WEIGHTS = "weights"
ACTIVATIONS = "activations"
OPTIMIZER = "gradients and optimizer"
LOGITS = "logits and loss head"
SAMPLER = "sampler's weights"
CACHES = "KV caches"
OTHER = "other"
KINDS = (WEIGHTS, ACTIVATIONS, OPTIMIZER, LOGITS, SAMPLER, CACHES, OTHER)

ALLOCATORS = (
    ("core/logprobs.py", "", LOGITS),
    ("core/sampling.py", "", LOGITS),
    ("models/packed.py", "Head.__call__", LOGITS),
    ("models/packed.py", "Int8Head.__call__", LOGITS),
    ("models/decoder.py", "Decoder.refresh", SAMPLER),
    ("models/kv_cache.py", "KVCache.__init__", CACHES),
)
"""Whose allocations are of which kind: end of the file's path, beginning of the function's qualified name, kind."""


@dataclass(eq=False, slots=True)
class Piece:
    """One storage: its size, what it is for, and the phase that made it."""

    num_bytes: int
    kind: str
    phase: str


@dataclass(frozen=True, slots=True)
class Event:
    """A storage was made or freed, or a phase began (no piece)."""

    phase: str
    change: int  # bytes
    piece: Piece | None


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that was alive at once in a phase, in bytes, and what it consisted of."""

    phase: str
    num_bytes: int
    by_kind: Mapping[str, int]


class MemoryTracker(TorchDispatchMode):
    """While entered, follows every storage that an operation returns.

    Args:
        block: allocations are rounded up to a multiple of this many bytes (512 on a CUDA card).
    """

    def __init__(self, block: int = 1) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.phase = "load"
        self._block = block
        self._kind_of_code: dict[CodeType, str | None] = {}
        self._pieces: dict[int, tuple[weakref.ref[Any], Piece]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in (out,) if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(value, Tensor):
                self._follow(value)
        return out

    def enter(self, phase: str) -> None:
        """From here on it is this phase; what is alive at its beginning counts in it."""
        self.phase = phase
        self.events.append(Event(phase, 0, None))

    def mark(self, tensors: Iterable[Tensor], kind: str) -> None:
        """These tensors are of this kind, and were so from their beginning; new ones are followed from here on."""
        for tensor in tensors:
            self._follow(tensor)
            known = self._pieces.get(id(_owner(tensor)))
            if known is not None:
                known[1].kind = kind

    def mark_alive(self, made_in: str, kind: str) -> None:
        """What was made in this phase, is still alive and was only working memory so far is of this kind."""
        for _, piece in self._pieces.values():
            if piece.phase == made_in and piece.kind in (OTHER, LOGITS):
                piece.kind = kind

    def _follow(self, tensor: Tensor) -> None:
        owner = _owner(tensor)
        key = id(owner)
        num_bytes = owner.nbytes() if isinstance(owner, torch.UntypedStorage) else owner.numel() * owner.itemsize
        if key in self._pieces or num_bytes == 0:
            return
        num_bytes = -(-num_bytes // self._block) * self._block
        piece = Piece(num_bytes, self._kind_of_caller(), self.phase)
        self._pieces[key] = (weakref.ref(owner, lambda _: self._freed(key)), piece)
        self.events.append(Event(self.phase, num_bytes, piece))

    def _freed(self, key: int) -> None:
        _, piece = self._pieces.pop(key)
        self.events.append(Event(self.phase, -piece.num_bytes, piece))

    def _kind_of_caller(self) -> str:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if code not in self._kind_of_code:
                self._kind_of_code[code] = next((k for file, name, k in ALLOCATORS if _is_in(code, file, name)), None)
            kind = self._kind_of_code[code]
            if kind is not None:
                return kind
            frame = frame.f_back
        return OTHER


def _is_in(code: CodeType, file: str, name: str) -> bool:
    return Path(code.co_filename).as_posix().endswith(file) and code.co_qualname.startswith(name)


def _owner(tensor: Tensor) -> Any:
    """What is freed when the memory is: the storage, or the tensor itself where oneDNN's layout hides it."""
    return tensor if tensor.layout == torch._mkldnn else tensor.untyped_storage()  # type: ignore[attr-defined]


def peaks(events: Iterable[Event]) -> tuple[Peak, ...]:
    """The peak of each phase, in the order in which they first came; a phase that comes twice has one peak."""
    alive = dict.fromkeys(KINDS, 0)
    total = 0
    best: dict[str, Peak] = {}
    for event in events:
        if event.piece is not None:
            alive[event.piece.kind] += event.change
            total += event.change
        if event.phase not in best or total > best[event.phase].num_bytes:
            best[event.phase] = Peak(event.phase, total, dict(alive))
    return tuple(best.values())
