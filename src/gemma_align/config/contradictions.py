"""Settings that are fine alone and make no sense together."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gemma_align.config.schema import Config
    from gemma_align.config.sections import DataConfig

OF_ONE_METHOD = ("dpo", "grpo", "ppo")  # sections that are called as the method that reads them
OF_SAMPLING = ("rl", "reward")
OF_RESPONSES = ("reward_", "policy_", "rollout_")  # how measures begin that only a stage which samples has
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
    found += _methods(config)
    for number, stage in enumerate(config.stages):
        for section in stage.overrides():
            if (section in OF_ONE_METHOD and section != stage.method) or (section in OF_SAMPLING and not stage.samples):
                message = f"wanted settings that a stage of {stage.method} reads, given the section `{section}`"
                found.append(Contradiction((f"stages.{number}.{section}",), message))
        own = {f"{section}.{name}" for section, settings in stage.overrides().items() for name in settings}
        for keys, message in contradictions(config.for_stage(stage)):
            if (keys, message) not in common:
                culprit = next((key for key in keys if key in own), "")
                found.append(Contradiction((f"stages.{number}.{culprit}".rstrip("."), *keys), message))
    return found


def contradictions(config: "Config") -> list[Contradiction]:
    """What contradicts what in one configuration, its stages left aside."""
    found = [*_too_long(config), *_few_shot(config), *_formats(config.data, config.task)]
    return [*found, *_terms(config), *_no_reward(config), *_no_encoder(config), *_lagrangian(config)]


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
    if data.balance is not None and task != "safety":
        message = f"wanted null, as only requests of the task safety are labelled so, given '{data.balance}'"
        found.append(Contradiction(("data.balance", "task"), message))
    return found


def _methods(config: "Config") -> list[Contradiction]:
    """What makes no sense for the methods of the stages."""
    found = []
    for stage in config.stages:
        own = config.for_stage(stage)
        if stage.method == "ppo":
            found += _ppo(own)
        if stage.method == "dpo" and own.dpo.loss == "ipo" and own.dpo.label_smoothing:
            message = f"wanted 0, as the loss ipo has no labels to smooth, given {own.dpo.label_smoothing:g}"
            found.append(Contradiction(("dpo.label_smoothing", "dpo.loss"), message))
        if stage.samples and own.model.lora is None and own.reward.asks_reference and own.rl.temperature != 1:
            message = (
                "wanted 1, as at any other temperature reward.constraints.fluency reads the base model itself, "
                f"and model.lora=null trains it, given {own.rl.temperature:g}"
            )
            found.append(Contradiction(("rl.temperature", "reward.constraints.fluency.weight", "model.lora"), message))
        if stage.samples and own.rl.overlong_buffer > own.rl.max_response_tokens:
            message = (
                f"wanted at most rl.max_response_tokens={own.rl.max_response_tokens}, which it is a part of, given "
            )
            found.append(Contradiction(("rl.overlong_buffer",), f"{message}{own.rl.overlong_buffer}"))
        if stage.method in ("grpo", "rejection") and own.rl.group_size == 1:
            message = f"wanted at least 2 for {stage.method}, which holds responses against each other, given 1"
            found.append(Contradiction(("rl.group_size",), message))
        if not stage.samples and config.checkpoint.measure.startswith(OF_RESPONSES):
            message = (
                f"wanted loss or a measure of the task, as a stage of {stage.method} samples no responses that have "
                f"another, given {config.checkpoint.measure!r}"
            )
            found.append(Contradiction(("checkpoint.measure",), message))
    rewinds = any(watch.action == "rewind" for watch in config.monitor.watches())
    if rewinds and not config.checkpoint.every and any(stage.samples for stage in config.stages):
        message = "wanted above 0, as a watch of `monitor` goes back to checkpoints (action: rewind), given 0"
        found.append(Contradiction(("checkpoint.every",), message))
    return list(dict.fromkeys(found))


def _ppo(config: "Config") -> list[Contradiction]:
    settings, found = config.ppo, []
    if settings.critic == "own" and config.model.lora is None:
        message = "wanted trunk, as an own critic stands on the frozen base and model.lora=null trains it, given own"
        found.append(Contradiction(("ppo.critic", "model.lora"), message))
    if settings.kl_target is not None and not config.rl.kl_coef:
        message = f"wanted rl.kl_coef above 0, which it multiplies, or null, given {settings.kl_target:g}"
        found.append(Contradiction(("ppo.kl_target", "rl.kl_coef"), message))
    if settings.unfinished_score is not None and settings.unfinished_penalty:
        message = f"wanted 0 beside ppo.unfinished_score, which replaces it, given {settings.unfinished_penalty:g}"
        found.append(Contradiction(("ppo.unfinished_penalty", "ppo.unfinished_score"), message))
    return found


def _terms(config: "Config") -> list[Contradiction]:
    """Parts of a reward are told by their call, so two terms of one name would be told as one."""
    calls = [term.call for term in config.reward.terms]
    twice = sorted({call for call in calls if calls.count(call) > 1})
    message = f"wanted each call once, given {', '.join(twice)} more than once: give one of them the sum of the weights"
    return [Contradiction(("reward.terms",), message)] if twice else []


def _no_encoder(config: "Config") -> list[Contradiction]:
    """Ways to read the encoder, where it isn't read."""
    reward = config.reward
    if reward.alpha or reward.combine not in ("pessimistic", "shaped"):
        return []
    message = f"wanted reward.alpha above 0, as it is about the encoder, or weighted, given '{reward.combine}'"
    return [Contradiction(("reward.combine", "reward.alpha"), message)]


def _lagrangian(config: "Config") -> list[Contradiction]:
    """beta moves within bounds, from where it stands."""
    reward, bounds = config.reward, config.reward.lagrangian
    if reward.combine != "lagrangian" or bounds.low <= reward.beta <= bounds.high:
        return []
    message = (
        f"wanted within reward.lagrangian.low={bounds.low:g} and reward.lagrangian.high={bounds.high:g}, between which "
        f"reward.combine=lagrangian moves it, given {reward.beta:g}"
    )
    keys = ("reward.beta", "reward.lagrangian.low", "reward.lagrangian.high", "reward.combine")
    return [Contradiction(keys, message)]


def _no_reward(config: "Config") -> list[Contradiction]:
    reward = config.reward
    if reward.alpha or reward.beta or reward.programmatic or any(term.weight for term in reward.terms):
        return []
    message = "wanted reward.alpha, reward.beta or reward.programmatic above 0, or a term, given none of them"
    return [Contradiction(("reward.alpha", "reward.beta"), message)]
