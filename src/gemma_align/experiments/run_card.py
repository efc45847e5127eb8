"""The model card of a trained adapter, in the hub's format: what it is made of, its cost, what came out, its limits."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gemma_align.config import Config
from gemma_align.evaluation.directions import direction
from gemma_align.experiments.cost import Cost, cost_of
from gemma_align.experiments.jsonl import read_lines
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.models.checkpoints import CheckpointInfo
from gemma_align.models.model_card import NOTICE, public_name
from gemma_align.trainers.stability import replayed

LIMITS = {
    "clinical": "Its notes leave out facts and invent others, as the measures say. It must not be used in the care of "
    "anybody.",
    "safety": "What it refuses was measured on the requests named here; others will get past it. It is no safeguard.",
    "code": "Its programs are wrong more often than right, as the measures say. Run none of them unconfined.",
}


def write_run_cards(paths: RunPaths, config: Config, base: CheckpointInfo) -> None:
    """README.md of the run's adapters. To be called when evaluation.json is written; changes no weight.

    Args:
        paths: the run's folder.
        config: the run's.
        base: the checkpoint it started from.
    """
    text = run_card(
        config,
        base,
        evaluation=json.loads(paths.evaluation.read_text(encoding="utf-8")),
        environment=json.loads(paths.environment.read_text(encoding="utf-8")),
        cost=cost_of(paths),
        lines=read_lines(paths.metrics),
    )
    for folder in (paths.adapter, paths.adapter_best):
        if (folder / "adapter_config.json").is_file():
            best = folder == paths.adapter_best
            (folder / "README.md").write_text(text.replace("{WHICH}", BEST if best else LAST), encoding="utf-8")


LAST = "These are the weights after the last update, which the measures are of."
BEST = "These are the weights that were best on the tune split; the measures are of those after the last update."


def run_card(
    config: Config,
    base: CheckpointInfo,
    *,
    evaluation: Mapping[str, Any],
    environment: Mapping[str, Any],
    cost: Cost,
    lines: Sequence[Mapping[str, Any]],
) -> str:
    """The card's text, with {WHICH} where it says which of a run's adapters it is of; `lines` are metrics.jsonl's."""
    head = yaml.safe_dump(_metadata(config, base, evaluation), sort_keys=False)
    return f"---\n{head}---\n\n" + "\n".join(_lines(config, base, evaluation, environment, cost, lines)) + "\n"


def _metadata(config: Config, base: CheckpointInfo, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """As the hub reads it (huggingface.co/docs/hub/model-cards)."""
    metrics = [
        {"type": name, "value": round(value["mean"], 4), "name": name}
        for name, value in evaluation["measures"].items()
        if direction(name).better is not None
    ]
    return {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        **({"license": "gemma"} if base.licence is not None else {}),
        **({"base_model": base.spec} if base.source == "hub" else {}),
        "tags": ["gemma3", "gemma-align", "lora", *(stage.method for stage in config.stages)],
        "model-index": [
            {
                "name": _name(config, base),
                "results": [
                    {
                        "task": {"type": "text-generation", "name": config.task},
                        "dataset": {"type": "gemma-align", "name": _data(config), "split": evaluation["split"]},
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _lines(
    config: Config,
    base: CheckpointInfo,
    evaluation: Mapping[str, Any],
    environment: Mapping[str, Any],
    cost: Cost,
    lines: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    yield f"# {_name(config, base)}"
    yield ""
    yield "{WHICH}"
    yield ""
    yield "```python"
    yield "from peft import PeftModel"
    yield ""
    yield 'model = PeftModel.from_pretrained(base_model, "this/folder")  # base_model: the one named below'
    yield "```"
    yield ""
    yield f"- Base model: {public_name(base)} (fingerprint {base.fingerprint[:16]})"
    if base.quantised_from:
        yield f"- Quantised: {base.quantised_from}"
    yield f"- Trained by: {', then '.join(stage.method for stage in config.stages)}; seed {config.seed}"
    yield f"- Prompts: {environment.get('prompt_format', config.model.prompt_format)}"
    yield f"- Data: {_data(config)}"
    for split in environment["data"][-1]["splits"]:
        yield f"  - {split['name']}: {split['num_examples']} examples (fingerprint {split['fingerprint'][:12]})"
    yield (
        f"- Cost: {cost.updates} updates, {cost.training_tokens:,} tokens trained on, {cost.sampled_tokens:,} sampled, "
        f"{cost.reward_calls:,} reward calls; {cost.seconds / 60:.1f} minutes on {environment.get('cores')} cores "
        f"({environment.get('machine')}), {cost.peak_gb:.2f} GB"
    )
    yield ""
    yield "## Measures"
    yield ""
    yield (
        f"{evaluation['num_examples']} examples of the {evaluation['split']} split, greedy, at most "
        f"{evaluation['decoding']['max_new_tokens']} tokens; {100 * evaluation['confidence']:g} % intervals over them."
    )
    yield ""
    yield from _table(evaluation)
    yield ""
    yield "## Stability"
    yield ""
    yield from _stability(config, lines)
    yield ""
    yield "## Limits"
    yield ""
    yield LIMITS[config.task]
    yield "One training run with one seed: nothing here says what another seed would give."
    if base.licence is not None:
        yield ""
        yield f"Licence: {base.licence}. {NOTICE.strip()}."


def _stability(config: Config, lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the monitor found, and what it couldn't: silence is worth something only where it has looked."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        if "rollout/tokens" in line:
            stages.setdefault(line["stage"], []).append(line)
    if not stages:
        yield "No stage sampled, so nothing was watched."
    elif not config.monitor.enabled:
        yield "The stability monitor was off (`monitor.enabled`), so nothing was watched."
    else:
        verdicts = [line["verdict"] for line in lines if "verdict" in line]
        watched = sum(map(len, stages.values()))
        yield f"The stability monitor watched {watched} updates and found {'this:' if verdicts else 'nothing.'}"
        if verdicts:
            yield ""
            yield from (f"- {v['name'].replace('_', ' ')} since update {v['began']}" for v in verdicts)
        for name, own in stages.items():
            early = replayed(own, config.monitor).too_early()
            if early:
                yield ""
                named = ", ".join(early).replace("_", " ")
                yield f"It could not judge {named}: {len(own)} updates of {name} are too few (`monitor.window`)."


def _table(evaluation: Mapping[str, Any]) -> Iterator[str]:
    shown = {"this model": evaluation["measures"]}
    if "base" in evaluation:
        shown["base"] = evaluation["base"]["measures"]
    yield f"| measure | {' | '.join(shown)} |"
    yield "| --- |" + " --- |" * len(shown)
    for name in evaluation["measures"]:
        cells = [_interval(found[name]) if name in found else "" for found in shown.values()]
        yield f"| {name} | {' | '.join(cells)} |"


def _interval(value: Mapping[str, Any]) -> str:
    if value["low"] is None or value["high"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _name(config: Config, base: CheckpointInfo) -> str:
    return f"{public_name(base)}, {' then '.join(stage.method for stage in config.stages)}, {config.task}"


def _data(config: Config) -> str:
    """The set's name; of a path only the last part, for the rest is nobody's business."""
    return config.data.train if config.data.train == "builtin" else Path(config.data.train).name
