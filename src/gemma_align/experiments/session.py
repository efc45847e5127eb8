"""What a run holds while it goes on, and how it starts: devices, the run folder, data, weights, in order of cost.

Whatever can be wrong is found before anything expensive is done: the configuration first, then the folder, the data
and the weights.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator

from gemma_align.config import Config, Stage, resolved_yaml
from gemma_align.data.task import LoadedTask
from gemma_align.data.tasks import load_task
from gemma_align.errors import ConfigError
from gemma_align.experiments.interrupts import Interrupts
from gemma_align.experiments.jsonl import damaged_log
from gemma_align.experiments.methods import METHODS
from gemma_align.experiments.run_dir import RunDir
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.experiments.same_inputs import require_same_inputs
from gemma_align.experiments.stage_encoder import encoder_folder, fit_encoder_once, wants_encoder, with_path
from gemma_align.experiments.stage_kept import KeptStages
from gemma_align.experiments.stage_pairs import with_pairs
from gemma_align.experiments.subject import reward_policy
from gemma_align.models.heap import keep_heap_compact
from gemma_align.models.policy import Policy
from gemma_align.rewards.build import open_reward
from gemma_align.trainers.checkpointing import LoopState, newest_state
from gemma_align.trainers.diagnostics import Diagnostics, check_trackers


@dataclass
class Session:
    """One run in one process. `folder` is None in every process but the main one."""

    config: Config
    accelerator: Accelerator
    folder: RunDir | None
    staged: tuple[Config, ...]  # of each stage, with the encoder that its reward reads
    tasks: tuple[LoadedTask, ...]  # the data of each stage
    policy: Policy
    diagnostics: Diagnostics
    kept: KeptStages
    interrupts: Interrupts
    resumed: LoopState | None  # where an unfinished run, or one whose first stages are kept, goes on; None at a start

    @property
    def task(self) -> LoadedTask:
        """The data that the run ends with, and is evaluated on."""
        return self.tasks[-1]


@contextmanager
def start(config: Config, *, resume: bool, interrupts: Interrupts) -> Iterator[Session]:
    """Everything a run needs, checked and loaded; on leaving, the folder's status says how the run ended."""
    trackers = (("tensorboard",) if config.tracking.tensorboard else ()) + tuple(config.tracking.trackers)
    check_trackers(trackers)
    keep_heap_compact()
    accelerator = Accelerator(cpu=config.model.device == "cpu")
    main = accelerator.is_main_process
    with RunDir.open(config.output_dir, resolved_yaml(config), resume) if main else nullcontext() as folder:
        seed_everything(config.seed)
        tasks = _tasks(config)
        device: str = config.model.device  # one of several processes gets the card accelerate gave it
        if accelerator.num_processes > 1:
            device = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)
        policy = Policy.load(
            config.model.for_training(),
            device=device,
            num_rows=config.evaluation.num_rows,
        )
        kept = KeptStages(config, tasks, policy, accelerator.num_processes)
        state = _saved_state(config) if resume else None
        found = None if state else kept.find()
        resumed_at = state.step if state else found.step if found else None
        if folder is not None:
            facts = {
                "seed": config.seed,
                "device": str(policy.device),
                "precision": str(policy.dtype).removeprefix("torch."),
                "num_processes": accelerator.num_processes,
                "checkpoint": policy.info.as_json(),
                "prompt_format": policy.prompt_format.name,
                "data": [task.report.to_dict() for task in tasks],
            }
            if state is not None:
                require_same_inputs(folder.begun_with(), facts)
        accelerator.wait_for_everyone()  # all have read the logs before one cuts them
        if folder is not None:
            folder.rewind(state.logs if state else {})
            folder.add_environment(facts)
        with Diagnostics(
            folder, trackers=trackers, project=config.tracking.project, resumed_at=resumed_at
        ) as diagnostics:
            staged = _staged(config, tasks, policy, accelerator, diagnostics)
            _check_rewards(staged, policy, accelerator.num_processes)
            if found is not None:  # only now: a folder of a run that can't begin is left empty
                if folder is not None and (told := kept.take(folder, found)):
                    diagnostics.say(told)
                accelerator.wait_for_everyone()
                state = _saved_state(config)
                accelerator.wait_for_everyone()
                if folder is not None:
                    folder.rewind(state.logs if state else {})
            yield Session(config, accelerator, folder, staged, tasks, policy, diagnostics, kept, interrupts, state)


def seed_everything(seed: int) -> None:
    """Every generator that a run draws from; all processes get the same seed, so adapters start equal."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _tasks(config: Config) -> tuple[LoadedTask, ...]:
    """The data of each stage; stages with the same settings and needs share it."""
    wanted = [(config.for_stage(stage), METHODS[stage.method].needs) for stage in config.stages]
    keys = [(staged.data, staged.reward, needs) for staged, needs in wanted]
    loaded: list[LoadedTask] = []
    for i, (staged, needs) in enumerate(wanted):
        first = keys.index(keys[i])
        loaded.append(loaded[first] if first < i else _load(staged, needs))
    loaded[-1].ready()  # what the evaluation needs, before hours of training
    return tuple(loaded)


def _load(config: Config, needs: tuple[str, ...]) -> LoadedTask:
    """One stage's data. Real pairs are used where there are some; else what the task lacks is made."""
    if "rejected" not in needs:
        return load_task(config.task, config.data, needs=needs)
    plain = load_task(config.task, config.data, needs=tuple(name for name in needs if name != "rejected"))
    if any(example.rejected is not None for example in plain.examples("train")):
        return load_task(config.task, config.data, needs=needs)
    return with_pairs(plain, config)


def _staged(
    config: Config, tasks: tuple[LoadedTask, ...], policy: Policy, accelerator: Accelerator, diagnostics: Diagnostics
) -> tuple[Config, ...]:
    """Each stage's configuration; encoders that are asked for by `auto` are fitted, by the main process, where none is.

    Before the first stage, so that the last one's reward is known to be there.
    """
    staged = []
    for stage, task in zip(config.stages, tasks, strict=True):
        own = config.for_stage(stage)
        if _reads_reward(config, stage) and wants_encoder(own):
            pairs = _whole(own, task)
            folder = encoder_folder(own, pairs, policy)
            if accelerator.is_main_process:
                fit_encoder_once(own, pairs, _stands_on(own, stage, policy), folder, diagnostics.say)
            accelerator.wait_for_everyone()
            own = with_path(own, folder)
        staged.append(own)
    return tuple(staged)


def _whole(config: Config, task: LoadedTask) -> LoadedTask:
    """A stage's data, and where it samples a balanced part of it, all: the pairs that an encoder is fitted to."""
    if config.data.balance is None:
        return task
    return load_task(config.task, config.data.model_copy(update={"balance": None}))


def _reads_reward(config: Config, stage: Stage) -> bool:
    """Whether a stage samples, or is the last one, by whose reward the evaluation takes the best of n."""
    return stage.samples or (config.evaluation.best_of > 0 and stage is config.stages[-1])


def _stands_on(config: Config, stage: Stage, policy: Policy) -> Policy:
    """A reward that a stage trains on reads the policy's own base; one that only chooses may have it loaded again."""
    return policy if stage.samples else reward_policy(config, policy)


def _check_rewards(staged: tuple[Config, ...], policy: Policy, num_processes: int) -> None:
    """UserError where a later stage's reward can't be had: before the stages that come first, not after them."""
    for config, stage in zip(staged, staged[0].stages, strict=True):
        if not _reads_reward(config, stage):
            continue
        reward = config.reward
        if stage.samples and reward.combine == "lagrangian" and num_processes > 1:
            raise ConfigError(
                "reward.combine=lagrangian follows the violations that one process sees, and there are "
                f"{num_processes} processes: run it in one, or choose weighted"
            )
        with open_reward(config.task, reward, partial(_stands_on, config, stage, policy)):
            pass


def _saved_state(config: Config) -> LoopState | None:
    paths = RunPaths(config.output_dir)
    return newest_state(paths.checkpoints, lambda state: damaged_log(paths.root, state.logs, state.log_sums))
