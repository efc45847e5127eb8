"""What is put into a process before it runs. Each function gives a `Fault`; `n` counts from 1."""

import errno
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.chaos import terms
from benchmarks.chaos.lives import Fault
from gemma_align.experiments import kept, stage
from gemma_align.models.decoder import Decoder
from gemma_align.sandbox.process import Zygote
from gemma_align.trainers import checkpointing, loop


def kill_at_save(n: int, call: int) -> Fault:
    """Dies while it saves for the n-th time, before the `call`-th call of anything written in C: an open, a write, a
    flush, a rename."""

    def put() -> None:
        def watched(save: Callable[[], Any]) -> Any:
            left = call

            def seen(_frame: object, event: str, _what: object) -> None:
                nonlocal left
                left -= event == "c_call"
                if left <= 0:
                    _die()

            sys.setprofile(seen)
            try:
                return save()
            finally:
                sys.setprofile(None)

        _around(stage, "save_checkpoint", n, watched)

    return put


def kill_half_written(n: int) -> Fault:
    """Dies when half of the tensors of its n-th checkpoint are written."""

    def put() -> None:
        save = checkpointing.save_file
        saves = 0

        def half(tensors: dict[str, Any], path: Path) -> None:
            nonlocal saves
            save(tensors, path)
            saves += 1
            if saves == n:
                os.truncate(path, path.stat().st_size // 2)
                _die()

        checkpointing.save_file = half  # type: ignore[assignment]

    return put


def kill_before_evaluation_kept(n: int) -> Fault:
    """Dies when n - 1 models are evaluated and kept, and the n-th isn't."""
    return lambda: _around(kept, "write_text", n, lambda _: _die())


def kill_while_sampling(n: int) -> Fault:
    """Dies before its n-th step of decoding."""
    return lambda: _around(Decoder, "step", n, lambda _: _die())


def counted(path: Path) -> Fault:
    """Writes how often the things above happen, when it ends."""

    def put() -> Callable[[], None]:
        found = {"saves": 0, "calls": 0, "steps": 0}
        save, step = stage.save_checkpoint, Decoder.step

        def saved(*args: Any, **kwargs: Any) -> Any:
            found["saves"] += 1
            found["calls"] = 0

            def seen(_frame: object, event: str, _what: object) -> None:
                found["calls"] += event == "c_call"

            sys.setprofile(seen)
            try:
                return save(*args, **kwargs)
            finally:
                sys.setprofile(None)

        def stepped(*args: Any, **kwargs: Any) -> Any:
            found["steps"] += 1
            return step(*args, **kwargs)

        stage.save_checkpoint, Decoder.step = saved, stepped  # type: ignore[method-assign]
        return lambda: path.write_text(json.dumps(found)) and None

    return put


def largest_file(num_bytes: int) -> Fault:
    """The kernel refuses to let any file grow above this."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def full_at_flush(n: int) -> Fault:
    """The disk says that it is full when something is flushed to it for the n-th time, and ever after."""

    def put() -> None:
        flush, calls = os.fsync, 0

        def full(descriptor: int) -> None:
            nonlocal calls
            calls += 1
            if calls >= n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(descriptor)

        os.fsync = full  # type: ignore[assignment]

    return put


def term(n: int, what: str) -> Fault:
    """The user's own reward term does `what` when it is called for the n-th time."""

    def put() -> None:
        def broken(call: Callable[[], Any]) -> Any:
            match what:
                case "raises":
                    raise KeyError("no such word")
                case "gives NaN":
                    return float("nan")
                case "gives text":
                    return "high"
                case "hangs":
                    time.sleep(3600)
            return call()

        _around(terms, "letters", n, broken)

    return put


def sandbox_killed(n: int, times: int) -> Fault:
    """The process that is to grade the n-th program is killed, and those that try it again, `times` in all."""

    def put() -> None:
        grade, calls = Zygote.grade, 0

        def killed(self: Zygote, *args: Any) -> Any:
            nonlocal calls
            calls += 1
            if n <= calls < n + times:
                os.killpg(self.pid, signal.SIGKILL)
            return grade(self, *args)

        Zygote.grade = killed  # type: ignore[method-assign]

    return put


def not_finite(update: int) -> Fault:
    """A gradient of this update of the stage becomes infinite."""

    def put() -> None:
        do, add = loop.Loop._step, loop.sum_gradients
        now = 0

        def step(self: loop.Loop, *args: Any) -> Any:
            nonlocal now
            now = self.step + 1
            return do(self, *args)

        def spoiled(weights: Any, accelerator: Any) -> None:
            add(weights, accelerator)
            if now == update:
                next(w.grad for w in weights.values() if w.grad is not None).view(-1)[0] = torch.inf

        loop.Loop._step, loop.sum_gradients = step, spoiled  # type: ignore[method-assign]

    return put


def both(first: Fault, second: Fault) -> Fault:
    def put() -> None:
        first()
        second()

    return put


def _around(owner: Any, name: str, n: int, instead: Callable[[Callable[[], Any]], Any]) -> None:
    """The n-th call of a function goes to `instead`, which gets what would have been called."""
    real, calls = getattr(owner, name), 0

    def called(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return instead(lambda: real(*args, **kwargs)) if calls == n else real(*args, **kwargs)

    setattr(owner, name, called)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
