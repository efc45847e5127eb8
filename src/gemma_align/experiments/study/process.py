"""A cell's process: the command line with the cell's arguments, on cores of its own, its words in its log.

Where the system can (not on Windows), processes are forked from a server that has loaded the libraries once: for a
small cell that takes longer than all the rest.
"""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from functools import cache
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

LOADED = (
    "gemma_align.experiments.runner",
    "gemma_align.experiments.evaluation",
    "peft",
    "profanity_check.profanity_check",
    "torch.utils.tensorboard",
    "transformers.models.gemma3.modeling_gemma3",
)
"""By the server. None of these does anything in parallel or on a card while it is loaded, so forks are safe."""


def start(arguments: Sequence[str], log: Path, cores: tuple[int, ...]) -> BaseProcess:
    """`gemma-align ARGUMENTS` begins, and appends to the log.

    Args:
        arguments: of the command line.
        log: a file, or where one will be.
        cores: numbers of those it may use; it has one thread for each.
    """
    process: BaseProcess = _context().Process(target=_run, args=(tuple(arguments), str(log), cores))  # type: ignore[attr-defined]
    process.start()
    return process


@cache
def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # whether there are cards, without beginning to use one
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    return context


def _run(arguments: tuple[str, ...], log: str, cores: tuple[int, ...]) -> None:
    words = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(words, stream)
    os.close(words)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(len(cores))  # of processes that it starts

    import torch

    torch.set_num_threads(len(cores))
    sys.argv = ["gemma-align", *arguments]

    from gemma_align.cli import main

    main(arguments)
