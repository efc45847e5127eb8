"""The evaluation that a folder holds, read back: of a run, or of `gemma-align evaluate` on one task. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gemma_align.errors import RunDirError
from gemma_align.evaluation.comparison import Result
from gemma_align.evaluation.names import UNTUNED, is_best_of
from gemma_align.experiments.config_diff import FREE, flat_settings, settings_of_stage
from gemma_align.experiments.run_paths import RunPaths

NOT_OF_THE_METHOD = (*FREE, "seed", "evaluation", "debug")
"""Settings that may differ between two runs of one method: the seed, and what is done after training."""

_REQUIRED = ("task", "split", "model", "num_examples", "data", "decoding", "prompt_format")


@dataclass(frozen=True, slots=True)
class Model:
    """One model's results in a folder.

    about  what it was evaluated on and how, dotted: task, split, data, decoding.max_new_tokens, ...
    ids    of the examples, in order
    """

    name: str
    about: Mapping[str, Any]
    ids: tuple[str, ...]
    result: Result


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A folder.

    main      the model the folder is about: "tuned", or "base" where none was tuned
    others    the models it was held against, by name
    method    what all runs of the method share, as text; None where it can't be known or nothing was trained
    seed      of the training; None as above
    start     equal where runs began with the same SFT and seed, so that chance was the same for both until then; None
              where they didn't begin with SFT, or as above
    weights   what tells the base weights apart; None where it isn't known
    """

    label: str
    folder: Path
    main: Model
    others: Mapping[str, Model]
    method: str | None
    stages: str
    seed: int | None
    start: str | None
    weights: str | None
    confidence: float
    evaluation_seed: int
    code: str | None


def read_evaluated(folder: Path, label: str) -> Evaluated:
    """What the folder holds.

    Raises:
        RunDirError: there is no finished evaluation, or it can't be read.
    """
    paths = RunPaths(folder)
    document = _document(paths)
    lines = _lines(paths)
    names = [document["model"], *(name for name in document if name in UNTUNED or is_best_of(name))]
    models = {}
    for name in dict.fromkeys(names):
        about = document if name == document["model"] else document[name]
        models[name] = _model(paths, about, lines.get(name, []), label if name == document["model"] else name)
    main = models.pop(document["model"])
    environment = _json(paths.environment) if paths.environment.exists() else {}
    method, stages, seed, start = _training(paths, environment) if main.name == "tuned" else (None, "", None, None)
    evaluated, checkpoint = environment.get("evaluated"), environment.get("checkpoint")
    code = environment.get("code")
    return Evaluated(
        label=label,
        folder=folder,
        main=main,
        others=models,
        method=method,
        stages=stages,
        seed=seed,
        start=start,
        weights=_base_weights(evaluated, checkpoint),
        confidence=float(document.get("confidence", 0.95)),
        evaluation_seed=int(document["decoding"].get("seed", 0)),
        code=code.get("commit") if isinstance(code, dict) else None,
    )


def _document(paths: RunPaths) -> dict[str, Any]:
    if not paths.root.is_dir():
        raise RunDirError(f"{paths.root}: no such folder; wanted the folder of a run or of an evaluation on one task")
    state = paths.read_status().get("state", "finished")
    if not paths.evaluation.exists():
        inside = sorted(path.parent.name for path in paths.root.glob("*/evaluation.json"))
        if inside:
            raise RunDirError(
                f"{paths.root} holds evaluations of several tasks ({', '.join(inside)}): "
                f"give one, such as {paths.root / inside[0]}"
            )
        if not paths.is_run():
            raise RunDirError(f"{paths.root} is not the folder of a run: it has no config.yml and evaluation.json")
    if state != "finished" or not paths.evaluation.exists():
        raise RunDirError(
            f"{paths.root}: this run isn't finished (it is {state}), so there is nothing to compare yet: "
            f"{'wait for its end, or ' if state == 'running' else ''}go on with it by giving its command with --resume"
        )
    document = _json(paths.evaluation)
    lacking = [key for key in _REQUIRED if key not in document]
    if lacking or not isinstance(document["decoding"], dict):
        raise RunDirError(f"{paths.evaluation} lacks {', '.join(lacking or ['decoding'])}: evaluate again")
    return document


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(found, dict):
        raise RunDirError(f"{path} holds no JSON object: evaluate again, or copy the folder again")
    return found


def _unreadable(path: Path, error: Exception) -> RunDirError:
    return RunDirError(f"{path} can't be read ({error}): evaluate again, or copy the folder again")


def _lines(paths: RunPaths) -> dict[str, list[dict[str, Any]]]:
    """Lines of samples.jsonl that hold measures, by model."""
    found: dict[str, list[dict[str, Any]]] = {}
    try:
        with paths.samples.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if isinstance(record, dict) and isinstance(record.get("measures"), dict):
                    found.setdefault(str(record.get("model")), []).append(record)
    except (OSError, ValueError) as error:
        raise _unreadable(paths.samples, error) from error
    return found


def _model(paths: RunPaths, document: Mapping[str, Any], lines: list[dict[str, Any]], label: str) -> Model:
    name = document["model"]
    records = [line for line in lines if line.get("split") == document["split"]]
    if len(records) != document["num_examples"]:
        raise RunDirError(
            f"{paths.samples} has {len(records)} responses of {name!r}, but {paths.evaluation.name} says "
            f"{document['num_examples']}: evaluate again, or copy the folder again"
        )
    try:
        measures = list(dict.fromkeys(measure for record in records for measure in record["measures"]))
        columns = {m: _column([record["measures"].get(m) for record in records]) for m in measures}
        columns["finished"] = _column([float(record["finished"]) for record in records])
        lengths = _column([record["num_tokens"] for record in records])
        if lengths.any():
            columns["num_tokens"] = lengths
        else:
            del columns["finished"]  # nothing was generated
        losses = _column([record.get("response_loss") for record in records])
        tokens = _column([record.get("response_tokens", 0) for record in records])
    except (KeyError, TypeError, ValueError) as error:
        raise RunDirError(
            f"{paths.samples}: responses of {name!r} lack or garble {error}: evaluate again, or copy the folder again"
        ) from error
    about = {key: document[key] for key in ("task", "split", "num_examples", "data", "prompt_format")}
    about |= {f"decoding.{key}": value for key, value in document["decoding"].items() if key != "seed"}
    ids = tuple(str(record["id"]) for record in records)
    return Model(name, about, ids, Result(label, columns, lengths, losses * tokens, tokens))


def _column(values: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else float(value) for value in values])


def _training(paths: RunPaths, environment: Mapping[str, Any]) -> tuple[str | None, str, int | None, str | None]:
    """Method, its stages' names, the seed and the start, from the configuration of the run that trained the weights."""
    evaluated = environment.get("evaluated")
    try:
        # `gemma-align evaluate` keeps the configuration of the run whose weights it measured
        config = paths.config.read_text(encoding="utf-8") if evaluated is None else str(evaluated["config"])
        settings = flat_settings(config)
        stages, seed = settings["stages"], int(settings["seed"])
        name = "+".join(stage["method"] for stage in stages)
    except (OSError, ValueError, KeyError, TypeError):
        return None, "", None, None
    shared = {key: value for key, value in settings.items() if not _beside_the_method(key)}
    return json.dumps(shared, sort_keys=True), name, seed, start_of(settings)


def start_of(settings: Mapping[str, Any]) -> str | None:
    """What decides the SFT that a run began with, its seed included, as text; None where it began otherwise.

    Args:
        settings: the run's configuration, as `flat_settings` gives it.
    """
    first = next(iter(settings["stages"]), {"method": None})
    if first["method"] != "sft":
        return None
    decides = {
        key: value
        for key, value in settings_of_stage(settings, first).items()
        if key.partition(".")[0] in ("task", "seed", "data", "model", "training")
    }
    for name in ("eval_every", "max_tokens_per_microbatch", "gradient_checkpointing"):  # change the rounding at most
        decides.pop(f"training.{name}", None)
    return json.dumps(decides, sort_keys=True)


def _base_weights(evaluated: Any, checkpoint: Any) -> str | None:
    """The fingerprint of what training started from."""
    for facts, key in ((evaluated, "checkpoint"), (checkpoint, "fingerprint")):
        if isinstance(facts, dict) and isinstance(facts.get(key), str):
            return str(facts[key])
    return None


def _beside_the_method(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in NOT_OF_THE_METHOD)
