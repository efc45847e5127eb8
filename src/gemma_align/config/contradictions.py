"""Settings that are fine alone and make no sense together."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gemma_align.config.schema import Config
    from gemma_align.config.sections import DataConfig

_TASK_OF_FORMAT = {
    "mts_dialog": "clinical",
    "hh_rlhf": "safety",
    "xstest": "safety",
    "advbench": "safety",
    "harmbench": "safety",
    "mbpp": "code",
    "humaneval": "code",
    "conala": "code",
}


class Contradiction(NamedTuple):
    """What is wrong, and the dotted keys it lies between; the first is the one to show."""

    keys: tuple[str, ...]
    message: str


def contradictions_of_stages(config: "Config") -> list[Contradiction]:
    """The contradictions of a configuration, and those that a stage's own settings bring in."""
    found = contradictions(config)
    common = set(found)
    found += _critic(config)
    for number, stage in enumerate(config.stages):
        own = {f"{section}.{name}" for section, settings in stage.overrides().items() for name in settings}
        for keys, message in contradictions(config.for_stage(stage)):
            if (keys, message) not in common:
                culprit = next((key for key in keys if key in own), "")
                found.append(Contradiction((f"stages.{number}.{culprit}".rstrip("."), *keys), message))
    return found


def contradictions(config: "Config") -> list[Contradiction]:
    """What contradicts what in one configuration, its stages left aside."""
    return [*_too_long(config), *_few_shot(config), *_formats(config.data, config.task), *_no_reward(config)]


def _too_long(config: "Config") -> list[Contradiction]:
    limit = config.model.max_length
    lengths = {
        "evaluation.max_new_tokens": config.max_new_tokens,
        "rl.max_response_tokens": config.rl.max_response_tokens,
    }
    return [
        Contradiction(
            (key, "model.max_length"), f"wanted fewer than model.max_length={limit}, or no prompt fits, given {length}"
        )
        for key, length in lengths.items()
        if length >= limit
    ]


def _few_shot(config: "Config") -> list[Contradiction]:
    few_shot, key = config.evaluation.few_shot, "evaluation.few_shot"
    found = []
    if few_shot and not config.evaluation.base:
        message = f"wanted evaluation.base=true, whose prompts the {few_shot} worked examples are for, given false"
        found.append(Contradiction((key, "evaluation.base"), message))
    builtin = config.data.num_builtin if config.data.train == "builtin" else None
    limits = [limit for limit in (builtin, config.data.max_train_examples) if limit is not None]
    if limits and few_shot > min(limits):
        message = f"wanted at most the {min(limits)} training examples there are, given {few_shot}"
        keys = (key, "data.train", "data.num_builtin", "data.max_train_examples")
        found.append(Contradiction(keys, message))
    return found


def _formats(data: "DataConfig", task: str) -> list[Contradiction]:
    keys = ("data.format", "data.train", "data.tune", "data.report")
    files = [place for place in (data.train, data.tune, data.report) if place not in (None, "builtin")]
    found = []
    if data.format == "builtin" and files:
        found.append(Contradiction(keys, f"wanted auto or the format of {files[0]!r}, given 'builtin'"))
    if data.format not in ("auto", "builtin") and not files:
        message = f"wanted a file or hub id in data.train for {data.format!r}, given builtin data only"
        found.append(Contradiction(keys, message))
    if _TASK_OF_FORMAT.get(data.format, task) != task:
        message = f"wanted a format of the task '{task}', given '{data.format}' ({_TASK_OF_FORMAT[data.format]})"
        found.append(Contradiction(("data.format", "task"), message))
    return found


def _critic(config: "Config") -> list[Contradiction]:
    own = any(stage.method == "ppo" and config.for_stage(stage).ppo.critic == "own" for stage in config.stages)
    if config.model.lora is not None or not own:
        return []
    message = "wanted trunk, as a critic of its own stands on the frozen base and model.lora=null trains it, given own"
    return [Contradiction(("ppo.critic", "model.lora"), message)]


def _no_reward(config: "Config") -> list[Contradiction]:
    reward = config.reward
    if reward.alpha or reward.beta or reward.programmatic or any(term.weight for term in reward.terms):
        return []
    message = "wanted reward.alpha, reward.beta or reward.programmatic above 0, or a term, given none of them"
    return [Contradiction(("reward.alpha", "reward.beta"), message)]
