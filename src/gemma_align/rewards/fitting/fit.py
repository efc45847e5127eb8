"""Fitting an encoder: the project's loop over the pairs, and after every epoch a look at the dev pairs.

The epoch with the lowest dev loss gives the weights; after `patience` epochs without a lower one the fit ends. Then
the scores are standardised and their slope is fitted, on the dev pairs too. Equal seeds give equal bits.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from gemma_align.config import EncoderConfig, TrainingConfig
from gemma_align.rewards.encoder.model import RewardEncoder
from gemma_align.rewards.encoder.rows import Row
from gemma_align.rewards.fitting.calibration import fit_slope, right
from gemma_align.rewards.fitting.pairs import Pairs
from gemma_align.trainers.bradley_terry import BradleyTerry
from gemma_align.trainers.loop import Loop
from gemma_align.types import Example


@dataclass(frozen=True, slots=True)
class Epoch:
    """How an epoch ended. Losses in nats a pair, without the centring."""

    epoch: int
    fit_loss: float  # with dropout, over the epoch's updates
    dev_loss: float
    dev_accuracy: float


@dataclass(frozen=True, slots=True)
class FitReport:
    """What a fit was and cost."""

    history: tuple[Epoch, ...]
    best_epoch: int
    num_pairs: int
    num_dev: int
    num_tokens: int  # that went through the encoder in updates; a prompt counts for each of its pair's rows
    num_trained: int  # weights
    num_cut: int  # rows of the pairs, dev included, of which something was left out
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def fit_encoder(
    encoder: RewardEncoder,
    pairs: Pairs,
    config: EncoderConfig,
    *,
    seed: int,
    on_update: Callable[[int, str], None] = lambda done, text: None,
    known: dict[Row, torch.Tensor] | None = None,
) -> FitReport:
    """Fits a fresh encoder in place; it ends in evaluation mode. The caller's random state is left alone.

    Args:
        encoder: from `build_encoder`.
        pairs: from `cut_dev`.
        config: how.
        seed: of order, dropout and the heads' weights.
        on_update: told after every update: how many are done, and how it goes.
        known: see `RewardEncoder.remembering`.
    """
    began = time.perf_counter()
    algorithm = BradleyTerry(encoder, config, seed=seed)
    rows = [row for example in pairs.fit for row in algorithm.pair(example)]
    dev_rows = [row for example in pairs.dev for row in algorithm.pair(example)]
    weights = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
    loop = Loop(
        algorithm,
        weights,
        pairs.fit,
        _training(config),
        seed=seed,
        accelerator=Accelerator(cpu=encoder.backbone.device.type == "cpu"),
        timer=lambda phase: nullcontext(),
    )
    history: list[Epoch] = []
    best: dict[str, torch.Tensor] = {}
    best_epoch, num_tokens, losses = 0, 0, list[float]()
    updates_an_epoch = loop.total_steps // config.epochs
    with torch.random.fork_rng(), encoder.remembering(known):
        torch.manual_seed(seed)
        encoder.standardise_features(rows)
        for update in loop:
            num_tokens += update.num_tokens
            losses.append(update.metrics["loss/preference"])
            if update.step % updates_an_epoch == 0:
                done = update.step // updates_an_epoch
                differences = pair_differences(encoder, pairs.dev)
                history.append(Epoch(done, float(np.mean(losses)), pair_loss(differences), pair_accuracy(differences)))
                losses.clear()
                if not best or history[-1].dev_loss < history[best_epoch - 1].dev_loss:
                    best_epoch = done
                    best = {name: weight.detach().clone() for name, weight in weights.items()}
                elif done - best_epoch >= config.patience:
                    break
            on_update(update.step, f"dev loss {history[-1].dev_loss:.4f}" if history else "")
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(best[name])
        encoder.eval()
        encoder.standardise_scores(dev_rows)
        encoder.slope.fill_(fit_slope(pair_differences(encoder, pairs.dev)))
    return FitReport(
        history=tuple(history),
        best_epoch=best_epoch,
        num_pairs=len(pairs.fit),
        num_dev=len(pairs.dev),
        num_tokens=num_tokens,
        num_trained=sum(weight.numel() for weight in weights.values()),
        num_cut=sum(row.was_cut for row in [*rows, *dev_rows]),
        seconds=time.perf_counter() - began,
    )


def pair_differences(encoder: RewardEncoder, pairs: Sequence[Example]) -> NDArray[np.float64]:
    """(N,) chosen - rejected of the heads' mean score, on the scale the encoder has."""
    rows = [encoder.row(e, text) for e in pairs for text in (e.response or "", e.rejected or "")]
    scores = encoder.head_scores(rows).double().mean(dim=1).view(-1, 2)
    return np.asarray((scores[:, 0] - scores[:, 1]).numpy(), dtype=np.float64)


def pair_loss(differences: NDArray[np.float64]) -> float:
    """-log s(difference), mean, in nats; log 2 = 0.693 is knowing nothing."""
    return float(np.logaddexp(0.0, -differences).mean())


def pair_accuracy(differences: NDArray[np.float64]) -> float:
    """Share of pairs in which the chosen response scores higher; equal scores count half."""
    return float(right(differences).mean())


def _training(config: EncoderConfig) -> TrainingConfig:
    return TrainingConfig(
        learning_rate=config.learning_rate,
        batch_size=config.batch_size,
        num_epochs=config.epochs,
        weight_decay=config.weight_decay,
        max_tokens_per_microbatch=config.max_tokens_per_microbatch,
    )
