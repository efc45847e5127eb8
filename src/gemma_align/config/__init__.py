"""Configuration: the typed schema, and the YAML files and `key=value` overrides that are checked against it."""

from gemma_align.config.debug import debug_config
from gemma_align.config.encoder import AUTO, EncoderConfig
from gemma_align.config.loading import load_config, resolved_yaml
from gemma_align.config.monitor import MonitorConfig
from gemma_align.config.reward import RewardConfig
from gemma_align.config.schema import TASK_NAMES, Config, Stage, TaskName
from gemma_align.config.sections import (
    CheckpointConfig,
    DataConfig,
    DataFormat,
    EvaluationConfig,
    JudgeConfig,
    LoraConfig,
    ModelConfig,
    RLConfig,
    TrackingConfig,
    TrainingConfig,
)

__all__ = [
    "AUTO",
    "TASK_NAMES",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DataFormat",
    "EncoderConfig",
    "EvaluationConfig",
    "JudgeConfig",
    "LoraConfig",
    "ModelConfig",
    "MonitorConfig",
    "RLConfig",
    "RewardConfig",
    "Stage",
    "TaskName",
    "TrackingConfig",
    "TrainingConfig",
    "debug_config",
    "load_config",
    "resolved_yaml",
]
