"""`gemma-align reward score`: what the reward says of answers in a file, part by part, for a user to look into."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from gemma_align.config import Config
from gemma_align.data.tasks import TASKS
from gemma_align.errors import RunDirError
from gemma_align.experiments.files import write_text
from gemma_align.experiments.subject import untrained
from gemma_align.lines import read_lines
from gemma_align.rewards.build import open_reward
from gemma_align.rewards.hybrid import HybridReward, Judged
from gemma_align.types import Answer, Example

BATCH = 256  # answers scored at a time


class Line(BaseModel):
    """One answer. `reference`, `cue` and `checks` (facts, tests; docs/data.md) are for parts that look at them."""

    model_config = ConfigDict(extra="ignore", strict=True)

    id: str | int
    prompt: str
    response: str
    reference: str | None = None
    cue: str | None = None
    checks: dict[str, JsonValue] = {}
    finished: bool = True


def score_file(config: Config, source: Path, target: Path) -> float:
    """Scores every line of `source` and writes a line for each into `target`, in order, whole or not at all:

        {"id", "total", "parts": {name: number}, "constraints": {name: {"penalty", "reason", "spans", "floor"}}}

    of the constraints those that fired; `spans` are characters [start, end) of the response.

    Args:
        config: its task, model and reward count.
        source: a jsonl file of `Line`s.
        target: replaced if it is there.

    Returns:
        Answers a second, loading not counted.

    Raises:
        UserError: lines that can't be read, a part of the reward that can't be had or fails, a file that can't be
            written.
    """
    if not target.absolute().parent.is_dir():
        raise RunDirError(f"--output {target}: there is no folder {target.absolute().parent}")
    cue = TASKS[config.task].cue

    def asked(line: Line) -> tuple[Example, Answer]:
        shown = cue if line.cue is None else line.cue
        example = Example(str(line.id), line.prompt, line.reference, cue=shown, checks=line.checks)
        return example, Answer(line.response, line.finished)

    rows = read_lines(source, Line, asked, "{id, prompt, response}")
    with open_reward(config.task, config.reward, lambda: untrained(config)) as reward:
        start = time.perf_counter()
        written = "".join(json.dumps(line) + "\n" for line in _scored(reward, rows))
        rate = len(rows) / (time.perf_counter() - start)
    try:
        write_text(target, written)
    except OSError as error:
        raise RunDirError(f"--output {target} can't be written: {error.strerror or error}") from error
    return rate


def _scored(reward: HybridReward, rows: list[tuple[Example, Answer]]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(rows), BATCH):
        examples, answers = zip(*rows[start : start + BATCH], strict=True)
        judged = reward.judge(examples, answers)
        yield from (_line(example, judged, i) for i, example in enumerate(examples))


def _line(example: Example, judged: Judged, i: int) -> dict[str, Any]:
    return {
        "id": example.id,
        "total": float(judged.scores.total[i]),
        "parts": {name: float(values[i]) for name, values in judged.scores.parts.items()},
        "constraints": {
            name: {"penalty": f.penalty, "reason": f.reason, "spans": list(map(list, f.spans)), "floor": f.floor}
            for name, f in judged.findings[i].items()
            if f.fired
        },
    }
