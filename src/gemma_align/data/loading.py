"""From the data settings to a task's three splits: read, clean, cut, keep apart, cap. Every row is accounted for.

The rules, in order (docs/data.md states them for users):

1. Each split comes from what is given for it, else from what the training folder or hub set holds for it, else it is
   cut from the training rows by a seeded hash; without any file it is generated (builtin).
2. Duplicates in train and tune are dropped. A report set that was given is never touched: it stays the published one.
3. Rows of tune that stand in report, and rows of train that stand in either, are dropped, near duplicates as well.
4. Rows of train and tune without what the method needs are dropped. `max_*_examples` draws a seeded subset, `balance`
   one of train with as many of one kind as of the other.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gemma_align.data.dedup import NearIndex
from gemma_align.data.hub import read_hub
from gemma_align.data.places import BUILTIN, Place, find_places
from gemma_align.data.readers import Item, read_file, read_items
from gemma_align.data.report import Ledger
from gemma_align.data.splits import balanced, cut, fingerprint, subset
from gemma_align.data.task import SPLITS, DataSettings, LoadedTask, TaskSpec
from gemma_align.data.text import normal_form
from gemma_align.errors import DataError
from gemma_align.types import Example, Split

CUT_SHARE = 0.1  # of the distinct training rows, for each split that has to be cut


@dataclass
class _Pool:
    """Items by split while they are being sorted out."""

    spec: TaskSpec
    settings: DataSettings
    ledger: Ledger = field(default_factory=Ledger)
    items: dict[Split, list[Item]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    shots: dict[str, Example] = field(default_factory=dict)  # by id: a file may be read for several splits
    given: set[Split] = field(default_factory=set)  # splits that a source was found for


def load(spec: TaskSpec, settings: DataSettings, needs: Collection[str]) -> LoadedTask:
    """See `tasks.load_task`."""
    pool = _Pool(spec, settings)
    _read(pool)
    fitted: tuple[Split, ...] = ("train", "tune")  # learnt from, or chosen by
    for split in fitted:
        _drop_duplicates(pool, split)
    _cut_missing(pool)
    _keep_apart(pool, "tune", ("report",))
    _keep_apart(pool, "train", ("tune", "report"))
    for split in fitted:
        _drop_lacking(pool, split, needs)
    _rename_repeated_ids(pool)
    caps = {
        "train": settings.max_train_examples,
        "tune": settings.max_tune_examples,
        "report": settings.max_report_examples,
    }
    splits: dict[Split, tuple[Example, ...]] = {}
    for split, items in pool.items.items():
        if not items:
            raise DataError(_empty(pool, split))
        examples = [item.example for item in items]
        if split == "train" and settings.balance is not None:
            splits[split] = _balanced(pool, examples)
        else:
            splits[split] = subset(examples, caps[split], settings.seed)
        if len(splits[split]) < len(items) and not (split == "train" and settings.balance):
            pool.ledger.notes.append(f"{split}: {len(splits[split]):,} of {len(items):,} drawn (max_{split}_examples)")
        for item in items:
            item.source.kept[split] += 1
    report = pool.ledger.close(spec.name, {s: (len(rows), fingerprint(rows)) for s, rows in splits.items()})
    return LoadedTask(spec, splits, report, tuple(pool.shots.values()))


def _read(pool: _Pool) -> None:
    specs: dict[Split, str | None] = {
        "train": pool.settings.train,
        "tune": pool.settings.tune,
        "report": pool.settings.report,
    }
    if pool.settings.format == BUILTIN:
        odd = [f"data.{split}={spec!r}" for split, spec in specs.items() if spec not in (None, BUILTIN)]
        if odd:
            raise DataError(f"data.format=builtin reads no files, but there is {', '.join(odd)}: remove one of the two")
    explicit = {split for split, spec in specs.items() if spec is not None}
    for split, spec in specs.items():
        if spec is None:
            continue
        # Training data may bring the splits that nothing else was given for; the others bring only their own.
        welcome = {split} | (set(SPLITS) - explicit if split == "train" else set())
        if spec == BUILTIN:
            for each in sorted(welcome, key=SPLITS.index):
                _generate(pool, each)
        else:
            _take(pool, spec, split, welcome)


def _generate(pool: _Pool, split: Split) -> None:
    source = pool.ledger.open(f"builtin {pool.spec.name}, {split}", BUILTIN)
    for index in range(pool.settings.num_builtin):
        example = pool.spec.builtin(pool.settings.seed, split, index)
        source.num_read += 1
        pool.items[split].append(Item(example, example.prompt, split, source, index))
    pool.given.add(split)


def _take(pool: _Pool, spec: str, asked: Split, welcome: set[Split]) -> None:
    places = find_places(spec, asked, pool.settings.format, pool.spec.known)
    done: set[Place] = set()
    for split in sorted(places, key=SPLITS.index):
        for place in places[split]:
            if split in welcome and place not in done:
                done.add(place)
                for read_as, items in _read_place(pool, place, split).items():
                    _require_fitting(pool, pool.ledger.sources[-1].name, pool.ledger.sources[-1].format)
                    _sort_in(pool, items, read_as, welcome)


def _read_place(pool: _Pool, place: Place, split: Split) -> dict[Split, list[Item]]:
    cue = pool.spec.cue
    if isinstance(place.where, Path):
        return {split: read_file(place.where, place.format, cue, pool.ledger)}
    return {
        ours: read_items(rows, f"{place.where} ({ours})", ours, place.format, cue, pool.ledger)
        for ours, rows in read_hub(place.where, split).items()
    }


def _require_fitting(pool: _Pool, name: str, read_as: str) -> None:
    """A set of another task has nothing that this one's measures could speak of."""
    fitting = sorted({entry.format for entry in pool.spec.known} | {"jsonl"})
    if read_as not in fitting:
        raise DataError(
            f"{name} is read as {read_as}, which the task {pool.spec.name} has no measures for: wanted one of "
            f"{', '.join(fitting)}. Give another file or another task, or the format with data.format if it was "
            "mistaken."
        )


def _sort_in(pool: _Pool, items: list[Item], read_as: Split, welcome: set[Split]) -> None:
    for item in items:
        if item.shot:
            pool.shots[item.example.id] = item.example
            item.source.kept["shots"] += 1
            continue
        split = item.split or read_as
        if split in welcome:
            pool.items[split].append(item)
            pool.given.add(split)
        else:
            item.source.drop(item.line, f"belongs to the {split} split, which comes from elsewhere")


def _drop_duplicates(pool: _Pool, split: Split) -> None:
    seen: set[tuple[str, ...]] = set()
    kept = []
    for item in pool.items[split]:
        identity = pool.spec.identity(item.example)
        if identity in seen:
            item.source.drop(item.line, f"duplicate within {split}")
        else:
            seen.add(identity)
            kept.append(item)
    pool.items[split] = kept


def _cut_missing(pool: _Pool) -> None:
    missing: list[Split] = [split for split in ("report", "tune") if split not in pool.given]
    keys = [normal_form(item.key) for item in pool.items["train"]]
    if missing and len(set(keys)) <= len(missing):
        raise DataError(
            f"data.train has {len(set(keys))} distinct rows, too few to cut the {' and '.join(missing)} split from: "
            f"give {' and '.join(f'data.{split}' for split in missing)}, or more rows"
        )
    for split in missing:
        leaving = cut(keys, CUT_SHARE, pool.settings.seed, split)
        items = pool.items["train"]
        pool.items[split] = [item for item, key in zip(items, keys, strict=True) if key in leaving]
        pool.items["train"] = [item for item, key in zip(items, keys, strict=True) if key not in leaving]
        keys = [key for key in keys if key not in leaving]
        pool.ledger.notes.append(f"{split}: {len(pool.items[split]):,} rows cut from train (seeded hash of their text)")


def _keep_apart(pool: _Pool, split: Split, others: tuple[Split, ...]) -> None:
    for other in others:
        texts = [item.key for item in pool.items[other]]
        exact, index = {normal_form(text) for text in texts}, NearIndex(texts)
        kept = []
        for item in pool.items[split]:
            if normal_form(item.key) in exact:
                item.source.drop(item.line, f"{split} row that stands in {other}")
            elif index.similarity(item.key):
                item.source.drop(item.line, f"{split} row that nearly stands in {other}")
            else:
                kept.append(item)
        pool.items[split] = kept


def _drop_lacking(pool: _Pool, split: Split, needs: Collection[str]) -> None:
    kept = []
    for item in pool.items[split]:
        lacking = [name for name in needs if getattr(item.example, name) is None]
        if lacking:
            item.source.drop(item.line, f"no {lacking[0]} to {split} on")
        else:
            kept.append(item)
    pool.items[split] = kept


def _balanced(pool: _Pool, examples: Sequence[Example]) -> tuple[Example, ...]:
    """Train, half of it with the label that `data.balance` names."""
    settings, label = pool.settings, pool.settings.balance
    assert label is not None
    drawn = balanced(examples, label, settings.max_train_examples, settings.seed)
    if not drawn:
        having = sum(example.checks.get(label) is True for example in examples)
        raise DataError(
            f"data.balance={label}: wanted training examples of both kinds, but {having:,} are {label} and "
            f"{len(examples) - having:,} are not (or max_train_examples is 1). Rows without what the method needs are "
            "dropped before. Give data of both kinds, or data.balance=null"
        )
    pool.ledger.notes.append(f"train: {len(drawn):,} of {len(examples):,} drawn, one half {label} (balance)")
    return drawn


def _rename_repeated_ids(pool: _Pool) -> None:
    """Ids pair the responses of different models, so each is given once over all splits."""
    taken: set[str] = set()
    for items in pool.items.values():
        for i, item in enumerate(items):
            name, number = item.example.id, 1
            while name in taken:
                number += 1
                name = f"{item.example.id}#{number}"
            taken.add(name)
            if number > 1:
                items[i] = replace(item, example=replace(item.example, id=name))
                item.source.mended["id given before: a number was added"] += 1


def _empty(pool: _Pool, split: Split) -> str:
    reasons = "; ".join(
        f"{reason} ({n:,} rows of {source.name})"
        for source in pool.ledger.sources
        for reason, n in source.dropped.items()
    )
    return f"no example is left for the {split} split. Dropped: {reasons or 'nothing'}. Give data.{split} other rows."
