"""From the settings to the reward of a task, with everything it needs there and checked."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from gemma_align.config import AUTO, RewardConfig
from gemma_align.errors import ConfigError
from gemma_align.models.policy import Policy
from gemma_align.rewards.clinical import ClinicalReward
from gemma_align.rewards.code import CodeReward
from gemma_align.rewards.encoder.files import open_encoder
from gemma_align.rewards.encoder.model import RewardEncoder
from gemma_align.rewards.fluency import Reference
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.rewards.terms import load_term
from gemma_align.rewards.time_limit import limited
from gemma_align.types import RewardModel

FITTED_BY_RUNS = (
    "reward.encoder.path=auto is fitted by `gemma-align run`, which says where it lies: give that folder here, or one "
    "that `gemma-align reward fit` made"
)


@contextmanager
def open_reward(task: str, settings: RewardConfig, load_policy: Callable[[], Policy]) -> Iterator[HybridReward]:
    """The reward; its helpers (the sandbox's workers) end with the block.

    Args:
        task: its name.
        settings: the configuration's `reward`.
        load_policy: the model whose embeddings or weights an encoder stands on, and which says what is fluent; called
            only where one is needed, and once.

    Raises:
        UserError: an encoder, a term or a programmatic reward that is asked for and can't be had.
    """
    with ExitStack() as stack:
        terms = {term.call: (limited(load_term(term.call), term.timeout), term.weight) for term in settings.terms}
        programmatic = _programmatic(task, settings, stack) if settings.programmatic else None
        loaded = cache(load_policy)
        encoder = _encoder(settings, loaded) if settings.alpha else None
        reference = Reference(loaded()) if settings.asks_reference else None
        yield HybridReward(task, settings, encoder, programmatic, terms, reference)


def _encoder(settings: RewardConfig, load_policy: Callable[[], Policy]) -> RewardEncoder:
    if settings.encoder.path is None:
        raise ConfigError(
            "reward.alpha is above 0, which wants a fitted encoder: give its folder with reward.encoder.path "
            "(gemma-align reward fit makes one), let the run fit one with reward.encoder.path=auto, or set "
            "reward.alpha=0"
        )
    if settings.encoder.path == AUTO:
        raise ConfigError(FITTED_BY_RUNS)
    return open_encoder(Path(settings.encoder.path), load_policy)


def _programmatic(task: str, settings: RewardConfig, stack: ExitStack) -> RewardModel:
    match task:
        case "clinical":
            return ClinicalReward(**settings.clinical.model_dump())
        case "code":
            return stack.enter_context(CodeReward(**settings.code.model_dump()))
    raise ConfigError(
        f"reward.programmatic={settings.programmatic}: the task {task} has no programmatic reward; clinical and "
        "code have one. Set it to 0"
    )
