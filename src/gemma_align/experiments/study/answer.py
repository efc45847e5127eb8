"""The answer of a study as JSON values: which method for this task, what it cost, is it stable, is the reward hacked.

records -> an answer for each task -> claims

Everything the page shows stands here, so the numbers can be had without the page.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gemma_align.config.study import Study
from gemma_align.errors import UserError
from gemma_align.experiments.study.contest import Outcome, require_better_ways, settled
from gemma_align.experiments.study.record import Record
from gemma_align.experiments.study.task_answer import TaskAnswer
from gemma_align.experiments.study.values import interval_json, machine_of
from gemma_align.experiments.study.words import claim_words


def answer(study: Study, records: Mapping[str, Record], missing: Sequence[str]) -> dict[str, Any]:
    """Everything.

    Args:
        study: its file.
        records: of the cells of the table that are done, by name.
        missing: names of the cells that aren't, for people.

    Raises:
        UserError: nothing is done yet, cells don't compare, or a measure isn't there.
    """
    require_better_ways(study)
    if not records:
        raise UserError("no cell of this study is done yet: gemma-align study run FILE")
    parts: dict[str, TaskAnswer] = {}
    for task in study.tasks:
        own = [record for record in records.values() if record["task"] == task]
        if own:
            parts[task] = TaskAnswer(study, task, own)
    outcomes = settled(
        study,
        {task: part.contestants for task, part in parts.items()},
        {task: part.courses for task, part in parts.items()},
    )
    tasks = {task: part.as_json() for task, part in parts.items()}
    return {
        "title": study.title,
        "seeds": list(study.seeds),
        "missing": list(missing),
        "claims": [_claim(outcome) for outcome in outcomes],
        "tasks": tasks,
        "made_with": _made_with(records),
    }


def _claim(outcome: Outcome) -> dict[str, Any]:
    return {
        "text": outcome.claim.text,
        "task": outcome.task,
        "better": outcome.claim.better,
        "than": outcome.claim.than,
        "measure": outcome.claim.measure,
        "difference": interval_json(outcome.difference) if outcome.difference else None,
        "of_methods": outcome.of_methods,
        "corrected": outcome.corrected,
        "holds": outcome.holds,
        "words": claim_words(outcome),
    }


def _made_with(records: Mapping[str, Record]) -> dict[str, Any]:
    environments = [record["environment"] for record in records.values()]
    return {
        "cells": {
            name: {"command": r["command"], "config": r["config"], "seconds": r["cost"]["seconds"]}
            for name, r in records.items()
        },
        "packages": _distinct(e.get("packages") for e in environments),
        "machines": _distinct(machine_of(e) for e in environments),
        "code": _distinct(e.get("code") for e in environments),
        "weights": _distinct(record["weights"] for record in records.values()),
        "data": _distinct(e.get("data") for e in environments),
    }


def _distinct(values: Any) -> list[Any]:
    return [json.loads(text) for text in dict.fromkeys(json.dumps(value, sort_keys=True) for value in values)]
