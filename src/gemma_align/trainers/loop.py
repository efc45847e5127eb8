"""The one training loop. It knows no algorithm: it asks for a batch, then for the loss of its microbatches.

Departures from a textbook loop, each for exactness (but for `num_minibatches` above 1, whose parts depend on the number
of processes): losses are divided by the counts of the whole minibatch over all
processes, so splitting a minibatch changes no gradient; the order of examples and the learning rate are functions of
the step; a gradient that isn't finite never reaches the weights.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gemma_align.config import TrainingConfig
from gemma_align.core.packing import microbatch_rows
from gemma_align.data.splits import hashed
from gemma_align.models.heap import release_free_memory
from gemma_align.trainers.loop_state import LoopState
from gemma_align.trainers.processes import (
    MAX,
    combine,
    mean_metrics,
    share,
    sum_gradients,
    total,
    total_metrics,
)
from gemma_align.trainers.schedule import batch_indices, learning_rate_factor, num_updates
from gemma_align.types import Algorithm, Batch, Example, Totals

log = logging.getLogger(__name__)

Timer = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Update:
    """One update that was done: its number in the stage (from 1), its metrics, and what it took in."""

    step: int
    metrics: dict[str, float]
    num_examples: int
    num_tokens: int  # prompts and responses of the batch, all processes: what is shared or read twice counts as in data


@dataclass(frozen=True, slots=True)
class _Group:
    """Weights with a learning rate, and the loss that trains them; None: another group's does."""

    weights: dict[str, nn.Parameter]
    learning_rate: float
    norm: str  # the metric of their gradient's norm
    loss: Callable[[Batch, Totals], tuple[Tensor, dict[str, float]]] | None


class Loop:
    """Iterating over it does the updates of one stage; between two of them `state` is all there is to save.

        for update in Loop(...):
            log(update); checkpoint(loop.state())

    Args:
        algorithm: what to prepare and which loss to take.
        weights: the parameters that are trained, by name.
        examples: all training examples of the stage.
        settings: optimizer and batch sizes.
        seed: of the order of the examples.
        accelerator: device and processes.
        timer: times the phases `prepare`, `update` and `optimizer`.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        weights: Mapping[str, nn.Parameter],
        examples: Sequence[Example],
        settings: TrainingConfig,
        *,
        seed: int,
        accelerator: Accelerator,
        timer: Timer,
    ) -> None:
        self.algorithm = algorithm
        own = algorithm.own
        self.weights = {**weights, **(own.weights if own else {})}
        self.groups = [_Group(dict(weights), settings.learning_rate, "optimizer/grad_norm", algorithm.loss)]
        if own is not None:
            rate = settings.learning_rate if own.learning_rate is None else own.learning_rate
            self.groups.append(_Group(dict(own.weights), rate, "optimizer/own_grad_norm", own.loss))
        self.examples = examples
        self.settings = settings
        self.seed = seed
        self.accelerator = accelerator
        self.timer = timer
        self.step = 0
        self.examples_seen = 0
        self.rate_scale = 1.0  # of the learning rates; below 1 once the stability monitor has lowered them
        self.skipped = 0  # optimizer steps left out because a loss or gradient was not finite
        self.total_steps = num_updates(len(examples), settings.batch_size, settings.num_epochs, settings.max_steps)
        self.optimizer = torch.optim.AdamW(
            [{"params": list(group.weights.values())} for group in self.groups],
            lr=settings.learning_rate,
            betas=settings.adam_betas,
            eps=settings.adam_eps,
            weight_decay=settings.weight_decay,
        )

    def state(self) -> LoopState:
        """All of the loop's own state; who runs the loop adds what belongs to the run. Holds tensors by reference."""
        return LoopState(
            stage_step=self.step,
            examples_seen=self.examples_seen,
            skipped=self.skipped,
            rate_scale=self.rate_scale,
            model={name: weight.data for name, weight in self.weights.items()},
            optimizer=self.optimizer.state_dict(),
            algorithm=self.algorithm.state_dict(),
        )

    def restore(self, state: LoopState) -> None:
        """Continue from a state that `state` gave."""
        self.step = state.stage_step
        self.restore_weights(state)
        self.rate_scale = state.rate_scale
        self.examples_seen = state.examples_seen
        self.skipped = state.skipped
        self.algorithm.load_state_dict(state.algorithm)

    def restore_weights(self, state: LoopState) -> None:
        """Weights and optimizer of a state, and nothing else of it: the updates go on where they are.

        ValueError where it is the state of other weights: a copy would stretch a tensor of another shape in silence.
        """
        mine, theirs = ({name: tuple(w.shape) for name, w in all_.items()} for all_ in (self.weights, state.model))
        if mine != theirs:
            name = min(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
            raise ValueError(f"{name}: wanted shape {mine.get(name)}, given {theirs.get(name)}")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state.model[name])
        self.optimizer.load_state_dict(state.optimizer)

    def __iter__(self) -> Iterator[Update]:
        while self.step < self.total_steps:
            yield self._update()

    def _update(self) -> Update:
        settings = self.settings
        indices = batch_indices(self.step, len(self.examples), settings.batch_size, self.seed)
        mine = share([self.examples[i] for i in indices], self.accelerator)
        with self.timer("prepare"), torch.no_grad():
            batch = self.algorithm.prepare(mine)
            totals, num_tokens = self._totals(batch)
            told = self._told()
        release_free_memory()

        schedule = learning_rate_factor(self.step, self.total_steps, settings.warmup_fraction, settings.schedule)
        factor = schedule * self.rate_scale
        skipped = self.skipped
        steps = [
            self._step(part, part_totals, factor)
            for number in range(self.algorithm.num_passes)
            for part, part_totals in self._minibatches(batch, totals, number)
        ]
        metrics = {
            name: combine(name, [done[name] for done in steps]) / (1 if name.endswith(MAX) else len(steps))
            for name in steps[0]
        }

        self.step += 1
        self.examples_seen += len(indices)
        metrics |= told
        learning_rate = settings.learning_rate * factor
        metrics |= {"optimizer/learning_rate": learning_rate, "optimizer/skipped": float(self.skipped - skipped)}
        return Update(self.step, metrics, len(indices), num_tokens)

    def _minibatches(self, batch: Batch, totals: Totals, number: int) -> list[tuple[Batch, Totals]]:
        """The parts of one pass, in an order of its own, and what their losses divide by. Each process parts its own
        share; parts that are empty in all of them are left out."""
        count = self.algorithm.num_minibatches
        if count == 1:
            return [(batch, totals)]
        generator = torch.Generator().manual_seed(hashed(self.seed, "minibatches", self.step, number) % 2**63)
        order = torch.randperm(len(batch), generator=generator)
        parts = [batch.select(rows.sort().values) for rows in order.tensor_split(count)]
        found = [(part, self._totals(part)[0]) for part in parts]
        return [(part, own) for part, own in found if own.num_sequences] or [(batch, totals)]

    def _step(self, batch: Batch, totals: Totals, factor: float) -> dict[str, float]:
        """One optimizer step on a minibatch: its metrics, and the norms of the gradients before they were clipped.

        Each group is clipped by itself: a critic that is far off doesn't shorten the policy's step.
        """
        with self.timer("update"):
            metrics = self._accumulate(batch, totals)
            sum_gradients(self.weights, self.accelerator)
            metrics = total_metrics(metrics, self.accelerator)
        with self.timer("optimizer"):
            limit = self.settings.max_grad_norm or math.inf
            metrics |= {g.norm: float(nn.utils.clip_grad_norm_(g.weights.values(), limit)) for g in self.groups}
            if not totals.num_tokens:
                pass  # nothing to learn from in any process: momentum alone would move the weights
            elif all(math.isfinite(v) for v in metrics.values()):
                for group, ours in zip(self.optimizer.param_groups, self.groups, strict=True):
                    group["lr"] = ours.learning_rate * factor
                self.optimizer.step()
            else:
                self.skipped += 1
                log.warning("update %d skipped: its loss or gradient was not finite", self.step + 1)
            self.optimizer.zero_grad(set_to_none=True)
        return metrics

    def _told(self) -> dict[str, float]:
        """What the algorithm tells of the batch, as means over all processes."""
        sums, count = self.algorithm.told()
        return mean_metrics(sums, count, self.accelerator) if sums else {}

    def _totals(self, batch: Batch) -> tuple[Totals, int]:
        """What the losses divide by, and how many tokens prompts and responses have, over all processes."""
        responses = batch.responses
        row_tokens = int(responses.mask.sum()) + sum(map(len, responses.prompt_ids))
        tokens, sequences, rows = total(
            [float(responses.mask.sum()), float(len(responses)), float(row_tokens)], self.accelerator
        )
        return Totals(num_tokens=tokens, num_sequences=sequences), int(rows)

    def _accumulate(self, batch: Batch, totals: Totals) -> dict[str, float]:
        """Gradients and metrics of all microbatches; both add up because the losses are divided by the totals."""
        metrics: dict[str, float] = dict.fromkeys(self.algorithm.metrics, 0.0)
        for rows in microbatch_rows(
            batch.responses, self.settings.max_tokens_per_microbatch, whole_prompts=batch.whole_prompts
        ):
            part = batch.select(rows)
            for loss_of in (group.loss for group in self.groups if group.loss is not None):
                loss, told = loss_of(part, totals)
                self.accelerator.backward(loss)
                del loss
                release_free_memory()  # rows of changing length cut the heap to pieces, pass by pass
                metrics |= {name: combine(name, [metrics[name], value]) for name, value in told.items()}
        return metrics
