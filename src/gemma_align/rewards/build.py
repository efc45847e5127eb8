"""From the settings to the reward of a task, with everything it needs there and checked."""

from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from gemma_align.config import RewardConfig
from gemma_align.errors import ConfigError
from gemma_align.models.policy import Policy
from gemma_align.rewards.clinical import ClinicalReward
from gemma_align.rewards.code import CodeReward
from gemma_align.rewards.encoder.files import load_encoder, read_record
from gemma_align.rewards.hybrid import HybridReward
from gemma_align.rewards.terms import load_term
from gemma_align.types import RewardModel


class OpenReward(AbstractContextManager["OpenReward"]):
    """A reward whose helpers (the sandbox's workers) are closed when the block ends."""

    def __init__(self, task: str, settings: RewardConfig, policy: Policy | None) -> None:
        """See `build_reward`."""
        self._stack = ExitStack()
        terms = {term.call: (load_term(term.call), term.weight) for term in settings.terms}
        encoder = None
        if settings.alpha:
            if settings.encoder.path is None:
                raise ConfigError(
                    "reward.alpha is above 0, which wants a fitted encoder: give its folder with reward.encoder.path "
                    "(gemma-align reward fit makes one), or set reward.alpha=0"
                )
            encoder = load_encoder(Path(settings.encoder.path), policy)
        self.reward = HybridReward(task, settings, encoder, self._programmatic(task, settings), terms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _programmatic(self, task: str, settings: RewardConfig) -> RewardModel | None:
        if not settings.programmatic:
            return None
        match task:
            case "clinical":
                return ClinicalReward(**settings.clinical.model_dump())
            case "code":
                return self._stack.enter_context(CodeReward(**settings.code.model_dump()))
        raise ConfigError(
            f"reward.programmatic={settings.programmatic}: the task {task} has no programmatic reward; clinical and "
            "code have one. Set it to 0"
        )


def needs_policy(settings: RewardConfig) -> bool:
    """Whether the fitted encoder stands on the policy's weights."""
    if not settings.alpha or settings.encoder.path is None:
        return False
    saved = read_record(Path(settings.encoder.path)).get("encoder")
    return not (isinstance(saved, dict) and saved.get("backbone") == "minilm")
