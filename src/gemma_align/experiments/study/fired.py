"""Which hard constraints fire on the responses that a page shows, so that a reader can look for them.

Each method's responses are held against the constraints of its own configuration, whether or not it was trained with
them. A record keeps no prompts, references and probabilities: what a length has against its reference, and fluency,
aren't seen here. The rate over training is of all constraints (`reward/violation`).
"""

from collections.abc import Sequence

import yaml
from pydantic import ValidationError

from gemma_align.config.constraints import ConstraintsConfig
from gemma_align.rewards.constraints import check_all
from gemma_align.types import Answer, Example


def fired(task: str, config_yaml: str, texts: Sequence[str], finished: Sequence[bool]) -> list[dict[str, str]]:
    """{constraint: why} of each response; empty where nothing fires.

    Args:
        task: whose limits count.
        config_yaml: the configuration of the method; constraints that this version can't read are the default ones.
        texts, finished: the responses, and whether each ended by itself.

    Raises:
        RewardError: the toxicity classifier can't be used.
    """
    settings = _constraints(config_yaml)
    answers = [Answer(text, ended) for text, ended in zip(texts, finished, strict=True)]
    unknown = Example("", "", None)
    findings = check_all([unknown] * len(answers), answers, task, settings)
    return [{name: f.reason for name, f in found.items() if f.fired} for found in findings]


def _constraints(config_yaml: str) -> ConstraintsConfig:
    sections = yaml.load(config_yaml, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    given = (sections.get("reward") or {}).get("constraints") or {}
    try:
        return ConstraintsConfig.model_validate(given)
    except ValidationError:
        return ConstraintsConfig()
