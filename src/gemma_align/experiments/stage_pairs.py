"""Pairs for a stage that learns from them, where the data has none: each reference against one corruption of itself.

The corruptions are those of `gemma-align pairs make` (docs/pairs.md), which makes more and other pairs, from a policy's
samples too: a note with one fact turned round, a program that fails a visible test.
"""

from contextlib import closing
from dataclasses import replace

from gemma_align.config import Config
from gemma_align.data.splits import fingerprint
from gemma_align.data.task import LoadedTask
from gemma_align.errors import DataError
from gemma_align.experiments.pairs_scoring import CodeScorer, NoteScorer, Scorer
from gemma_align.types import Example, Split


def with_pairs(task: LoadedTask, config: Config) -> LoadedTask:
    """The task with pairs to train on and to tune on. `config` is the stage's.

    Raises:
        DataError: no pairs and none that could be made; it says how to get some.
    """
    splits, notes = dict(task.splits), list(task.report.notes)
    learnt_from: tuple[Split, ...] = ("train", "tune")
    with closing(_scorer(task.name, config)) as scorer:
        for split in learnt_from:
            examples = task.examples(split)
            splits[split] = _corrupted(examples, scorer)
            made, of = len(splits[split]), len(examples)
            notes.append(f"{split}: {made:,} pairs made of {of:,} examples, each reference against a corruption of it")
            if not made:
                raise DataError(
                    f"{task.name}: none of the {of:,} {split} examples has a rejected response, and none could be "
                    "corrupted. Make pairs with `gemma-align pairs make` and give them with data.train=…/pairs.jsonl"
                )
    now = {str(name): (len(examples), fingerprint(examples)) for name, examples in splits.items()}
    told = tuple(
        replace(split, num_examples=now[split.name][0], fingerprint=now[split.name][1]) for split in task.report.splits
    )
    return replace(task, splits=splits, report=replace(task.report, splits=told, notes=tuple(notes)))


def _scorer(task: str, config: Config) -> Scorer:
    match task:
        case "clinical":
            return NoteScorer(config.reward.clinical.model_dump(), config.data.seed)
        case "code":
            return CodeScorer(config.reward.code.model_dump(), config.data.seed)
    raise DataError(
        f"the task {task} has no corruptions of its own, so its training examples need a rejected response each: give "
        "data.train a set of pairs, such as HH-RLHF's"
    )


def _corrupted(examples: tuple[Example, ...], scorer: Scorer) -> tuple[Example, ...]:
    _, references, _ = scorer.candidates(examples, [[] for _ in examples])
    found = scorer.corruptions(examples, references, 1)
    return tuple(
        replace(example, rejected=rejected[0].text)
        for example, rejected in zip(examples, found, strict=True)
        if rejected
    )
