"""The whole of a configuration: sections, and the stages that may differ in them."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from gemma_align.config.contradictions import contradictions_of_stages
from gemma_align.config.methods import SAMPLING, DPOConfig, GRPOConfig, PPOConfig
from gemma_align.config.monitor import MonitorConfig
from gemma_align.config.pairs import PairsConfig
from gemma_align.config.reward import RewardConfig
from gemma_align.config.sections import (
    CheckpointConfig,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    Place,
    RLConfig,
    Section,
    TrackingConfig,
    TrainingConfig,
)

TaskName = Literal["clinical", "safety", "code"]
TASK_NAMES: tuple[str, ...] = get_args(TaskName)
MAX_NEW_TOKENS: dict[str, int] = {"clinical": 128, "safety": 128, "code": 192}
"""Longest response of each task. 192 tokens hold 95 % of MBPP's reference programs and 98 % of HumanEval's."""


STAGED = ("training", "data", "dpo", "grpo", "ppo", "rl", "reward")
"""Sections of which a stage may have settings of its own."""


class Stage(Section):
    """One method, with the settings that differ from the whole configuration's."""

    method: Literal["sft", "dpo", "grpo", "ppo", "rejection"]
    """`sft`: next-token loss on the response; `dpo`: direct preference optimization on pairs; `grpo`: group relative
    policy optimization of the reward; `ppo`: proximal policy optimization of it, with a critic; `rejection`: SFT
    on the best of each group of responses."""
    training: TrainingConfig | None = None
    """Only the settings given here replace those of the whole; the same for the sections below."""
    data: DataConfig | None = None
    """See `training`."""
    dpo: DPOConfig | None = None
    """See `training`."""
    grpo: GRPOConfig | None = None
    """See `training`."""
    ppo: PPOConfig | None = None
    """See `training`."""
    rl: RLConfig | None = None
    """See `training`."""
    reward: RewardConfig | None = None
    """See `training`."""

    @property
    def samples(self) -> bool:
        """Whether its method does, see `SAMPLING`."""
        return self.method in SAMPLING

    def overrides(self) -> dict[str, dict[str, Any]]:
        """The settings that were given, by section."""
        sections = {name: getattr(self, name) for name in STAGED}
        return {
            name: {key: getattr(section, key) for key in section.model_fields_set}
            for name, section in sections.items()
            if section is not None
        }


class Config(Section):
    """One run: a task, a model, and the stages that align it."""

    task: TaskName
    """What the model is aligned to do; decides data, prompts and measures."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, strict=False)]
    """Carried out in order; each starts from the model that the one before it left."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of everything random: builtin data, order, adapters, sampling."""
    output_dir: Place = "runs/unnamed"
    """The run folder; in a file that doesn't say, `runs/` and the file's name."""
    debug: bool = False
    """Two or three batches of everything, to see that a configuration runs (`--debug`)."""
    model: ModelConfig = ModelConfig()
    """Which weights, how they are adapted, where they run."""
    data: DataConfig = DataConfig()
    """Where examples come from."""
    training: TrainingConfig = TrainingConfig()
    """The optimizer and the loop."""
    dpo: DPOConfig = DPOConfig()
    """Direct preference optimization, for stages that do it."""
    grpo: GRPOConfig = GRPOConfig()
    """Group relative policy optimization, for stages that do it."""
    ppo: PPOConfig = PPOConfig()
    """Proximal policy optimization, for stages that do it."""
    rl: RLConfig = RLConfig()
    """Rollouts, for stages that sample."""
    reward: RewardConfig = RewardConfig()
    """What a response is worth, for stages that need it."""
    pairs: PairsConfig = PairsConfig()
    """Preference pairs that `gemma-align pairs make` makes; no run reads it."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """The evaluation that ends the run."""
    monitor: MonitorConfig = MonitorConfig()
    """When a stage that samples is called unstable, and what is done then."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """What is kept on the way."""
    tracking: TrackingConfig = TrackingConfig()
    """Where metrics go."""

    @property
    def max_new_tokens(self) -> int:
        """Longest response of the evaluation: what is set, or else the task's own."""
        return self.evaluation.max_new_tokens or MAX_NEW_TOKENS[self.task]

    def for_stage(self, stage: Stage) -> "Config":
        """This configuration with the stage's own settings in place, however deep they lie, and no other changed."""
        changed = {name: _merged(getattr(self, name), getattr(stage, name)) for name in stage.overrides()}
        return self.model_copy(update=changed)

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        found = contradictions_of_stages(self)
        if found:
            text = "; ".join(f"{contradiction.keys[0]}: {contradiction.message}" for contradiction in found)
            raise PydanticCustomError("contradictions", "{text}", {"text": text, "found": found})
        return self


def _merged(whole: Section, own: Section) -> Section:
    """`whole` with what was given in `own`."""
    changed: dict[str, Any] = {}
    for name in own.model_fields_set:
        before, given = getattr(whole, name), getattr(own, name)
        deeper = isinstance(before, Section) and isinstance(given, Section)
        changed[name] = _merged(before, given) if deeper else given
    return whole.model_copy(update=changed)
