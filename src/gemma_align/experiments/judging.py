"""`gemma-align judge RUN [RUN]`: a judge compares responses that an evaluation has stored. Nothing is generated again.

In the first run's folder, under `judge/`:

    answers.jsonl   every answer as it came, under a key of judge and question: what is there isn't asked again
    <name>.jsonl    what came of each example, with both verdicts
    <name>.json     wins, ties and losses with intervals, and how far the judge can be relied on
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gemma_align.config import JudgeConfig, ModelConfig
from gemma_align.data.splits import hashed
from gemma_align.errors import JudgeError, UserError
from gemma_align.evaluation.judge import prompts
from gemma_align.evaluation.judge.agreement import Agreement, agreement, judged
from gemma_align.evaluation.judge.protocol import ORDERS, Answer, Judge, Pair, Question, question
from gemma_align.evaluation.table import shown
from gemma_align.experiments.evaluated import Evaluated, Model, read_evaluated
from gemma_align.experiments.files import json_text, write_json, write_text
from gemma_align.experiments.jsonl import JsonLines
from gemma_align.experiments.lock import FolderLock
from gemma_align.experiments.run_paths import RunPaths
from gemma_align.trainers.progress import choose_progress

LONGEST_QUESTION = 32_768
"""Tokens that a local judge reads at most, as many as Gemma 3 270M was trained with."""


@dataclass(frozen=True, slots=True)
class _Side:
    """One model's stored responses."""

    label: str
    folder: Path
    model: Model

    def records(self) -> dict[str, dict[str, Any]]:
        """Lines of samples.jsonl of this model, by the example's id, in order."""
        with RunPaths(self.folder).samples.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        return {line["id"]: line for line in lines if line["model"] == self.model.name}


def judge_runs(
    run: Path, other: Path | None, settings: JudgeConfig, *, against: str = "base", num_examples: int | None = None
) -> Agreement:
    """Asks the judge about every example in both orders, goes on where an earlier call stopped, and writes the result.

    Args:
        run: the folder of a run, or of an evaluation on one task; its model is the first.
        other: another folder, whose model is the second; None: the `against` model of the first folder.
        settings: who judges.
        against: "base", "few_shot" or "best_of_N".
        num_examples: at most so many, drawn by a hash of their ids; None: all.

    Raises:
        RunDirError: a folder without a finished evaluation.
        UserError: the two were evaluated on different examples or decoded differently.
        JudgeError: the judge can't be reached or refuses. Answers so far are kept, and the same call goes on.
    """
    first, second, about = _sides(run, other, against)
    pairs = _pairs(first, second, num_examples)
    folder = RunPaths(first.folder).judge
    judge = _judge(settings)
    questions = [question(judge, pair, order) for pair in pairs if not pair.identical for order in ORDERS]
    folder.mkdir(exist_ok=True)
    lock = FolderLock(folder / ".lock")
    try:
        with JsonLines(folder / "answers.jsonl") as log:
            log.drop_torn_line()
            known = _known(log.path)
            missing = list({q.key: q for q in questions if q.key not in known}.values())
            _ask(judge, missing, known, log, total=len(questions))
        rows = judged(pairs, [replace(known[q.key], id=q.id, order=q.order) for q in questions])
        found = agreement(rows, about.confidence, about.evaluation_seed)
        name = _slug(f"{first.label}-vs-{second.label}-by-{settings.model}")
        write_text(folder / f"{name}.jsonl", "".join(json_text(asdict(row)) + "\n" for row in rows))
        sides = {"first": _about(first), "second": _about(second)}
        shared = {key: first.model.about[key] for key in ("task", "split", "data")}
        facts = {"judge": {**judge.identity, "prompt_version": prompts.VERSION}, "confidence": about.confidence}
        write_json(folder / f"{name}.json", {**sides, **shared, **facts, **found.to_json()})
    finally:
        lock.release()
    console = Console(highlight=False)
    console.print(_table(found, first.label, second.label, settings.model, about.confidence))
    console.print(f"results: {folder / name}.json, example by example in {name}.jsonl", soft_wrap=True)
    return found


def _ask(judge: Judge, missing: Sequence[Question], known: dict[str, Answer], log: JsonLines, *, total: int) -> None:
    have = total - len(missing)
    bar = choose_progress().bar("asking the judge", total, have)

    def keep(answer: Answer) -> None:
        nonlocal have
        log.append(asdict(answer))
        known[answer.key] = answer
        have += 1
        bar.show(have)

    try:
        judge.ask(missing, keep)
    except JudgeError as error:
        raise JudgeError(
            f"{error}\n{have} of {total} answers are kept in {log.path}; the same command goes on from there"
        ) from error
    finally:
        bar.close()


def _sides(run: Path, other: Path | None, against: str) -> tuple[_Side, _Side, Evaluated]:
    ours = read_evaluated(run, _label(run))
    first = _Side(ours.main.name, run, ours.main)
    if other is None:
        if against not in ours.others:
            there = ", ".join(ours.others) or "none"
            raise UserError(
                f"{run} holds no responses of {against!r} to hold {ours.main.name!r} against (others there: {there}): "
                "give a second folder, another --against, or evaluate with evaluation.base=true"
            )
        second = _Side(against, run, ours.others[against])
    else:
        theirs = read_evaluated(other, _label(other))
        first = _Side(ours.label, run, ours.main)
        second = _Side(theirs.label, other, theirs.main)
    differing = [
        f"{key}: {first.model.about.get(key)} and {second.model.about.get(key)}"
        for key in {**first.model.about, **second.model.about}
        if first.model.about.get(key) != second.model.about.get(key) and not _own(key, other)
    ]
    if differing:
        raise UserError(
            f"{first.label} and {second.label} can't be judged against each other; they differ in "
            f"{'; '.join(differing)}. Evaluate both with one configuration: gemma-align evaluate --adapter RUN"
        )
    return first, second, ours


def _own(key: str, other: Path | None) -> bool:
    """Whether a model may differ in it: the best of n samples are drawn otherwise than what they are held against."""
    return key == "decoding.few_shot" or (other is None and key.startswith("decoding."))


def _pairs(first: _Side, second: _Side, num_examples: int | None) -> list[Pair]:
    ours, theirs = first.records(), second.records()
    if not any(record["response"] for record in (*ours.values(), *theirs.values())):
        raise UserError(f"{first.folder} holds no responses to judge: nothing was generated in this evaluation")
    names = list(ours)
    if num_examples is not None and num_examples < len(names):
        chosen = set(sorted(names, key=lambda name: hashed(0, "judge", name))[:num_examples])
        names = [name for name in names if name in chosen]
    return [
        Pair(name, ours[name]["task"], ours[name]["prompt"], ours[name]["response"], theirs[name]["response"])
        for name in names
    ]


def _judge(settings: JudgeConfig) -> Judge:
    if settings.url is not None:
        from gemma_align.evaluation.judge.client import EndpointJudge

        return EndpointJudge(settings)
    from gemma_align.evaluation.judge.local import LocalJudge
    from gemma_align.experiments.subject import trained_weights
    from gemma_align.models.policy import Policy

    folder = Path(settings.model).expanduser()
    if (folder / "config.yml").is_file():
        policy, trained = Policy.from_run(folder), trained_weights(folder)
    else:
        policy, trained = Policy.load(ModelConfig(checkpoint=settings.model, lora=None)), None
    policy.max_length = LONGEST_QUESTION
    identity = {"model": settings.model, "checkpoint": policy.info.fingerprint, "trained": trained}
    return LocalJudge(policy, identity)


def _known(path: Path) -> dict[str, Answer]:
    """The answers of earlier calls, by key; lines that say something else are passed over."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            answer = Answer(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[answer.key] = answer
    return found


def _about(side: _Side) -> dict[str, str]:
    return {"label": side.label, "model": side.model.name, "folder": str(side.folder.resolve())}


def _label(folder: Path) -> str:
    """A run's name; of an evaluation's folder for one task, the evaluation's too."""
    here = folder.resolve()
    return f"{here.parent.name}-{here.name}" if (here.parent / "summary.json").exists() else here.name


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:120]


def _table(found: Agreement, first: str, second: str, model: str, confidence: float) -> RenderableType:
    note = f"{first} against {second}, judged by {model} in both orders; {100 * confidence:g} % intervals in brackets"
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    rows = {
        f"{first} wins": found.win,
        "tie": found.tie,
        f"{first} loses": found.loss,
        "wins - losses": found.net,
        "orders agree": found.consistent,
        "leans to the first place": found.position,
    }
    for name, interval in rows.items():
        sign = "+" if interval in (found.net, found.position) else ""
        table.add_row(Text(name), Text(shown(interval, sign) if interval else "-"))
    counts = (
        f"{found.num_pairs} examples: {found.num_identical} with identical responses (ties, not asked), "
        f"{found.num_undecided} undecided; {found.num_unparsed} of {found.num_answers} answers were no verdict"
    )
    notes = [Text(counts)]
    if found.position is not None and found.position.excludes_zero:
        notes.append(Text("The judge has a position bias: it decides partly by which response it reads first."))
    return Group(Text(note), Text(), table, Text(), *notes)
