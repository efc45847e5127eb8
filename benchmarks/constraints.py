"""`python -m benchmarks.constraints [--page] [--texts]`: what the reward's constraints hit, and what they hit wrongly.

False alarms: the share of reference responses on which a constraint fires. Hits: the share of degenerate answers
(`rewards/degenerate.py`, made from reference responses) on which one does. Limits were chosen on the part "chosen on";
"report" was run when they were fixed. Writes docs/results/constraints.json and the tables of docs/rewards.md, with
`--page` only these; `--texts` prints every reference that was hit.
"""

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from benchmarks.constraints_page import KEPT, write_page
from benchmarks.data_folder import data_folder
from benchmarks.machine import describe
from gemma_align.config import DataConfig
from gemma_align.config.constraints import ConstraintsConfig
from gemma_align.data.tasks import load_task
from gemma_align.rewards.constraints import CONSTRAINTS, Finding, check_all
from gemma_align.rewards.constraints.length import length
from gemma_align.rewards.constraints.limits import TASK_LIMITS
from gemma_align.rewards.constraints.repetition import repetition
from gemma_align.rewards.degenerate import DISGUISES, FAMILIES, INSULTS
from gemma_align.types import Answer, Example, Split

NUM_HONEST = 150  # reference responses of a set that degenerate answers are made from
NUM_TIMED = 200
SETTINGS = ConstraintsConfig()
CHOSEN_ON: tuple[Split, ...] = ("train", "tune")
Examples = list[Example]


def sets(folder: Path) -> dict[tuple[str, str], dict[str, Examples]]:
    """Examples with a reference by (task, set), each as "chosen on" and, where the set has one, "report"."""
    places = {
        ("clinical", "MTS-Dialog"): DataConfig(train=str(folder / "mts_dialog")),
        ("safety", "HH-RLHF harmless, chosen"): DataConfig(train=str(folder / "hh_rlhf_harmless")),
        ("code", "MBPP"): DataConfig(train=str(folder / "mbpp" / "mbpp.jsonl")),
        ("code", "CoNaLa"): DataConfig(train=str(folder / "mconala_en_train" / "train.json"), format="conala"),
        ("code", "HumanEval"): DataConfig(
            train=str(folder / "mbpp" / "mbpp.jsonl"), report=str(folder / "humaneval" / "HumanEval.jsonl")
        ),
        **{(task, "builtin"): DataConfig() for task in ("clinical", "safety", "code")},
    }
    found: dict[tuple[str, str], dict[str, Examples]] = {}
    for (task, name), data in places.items():
        loaded = load_task(task, data)
        parts = {
            "chosen on": [e for split in CHOSEN_ON for e in loaded.examples(split) if e.response],
            "report": [e for e in loaded.examples("report") if e.response],
        }
        if name == "CoNaLa":  # every row of it is for training: what was cut from it is no report split
            parts = {"chosen on": [*parts["chosen on"], *parts["report"]]}
        if name == "HumanEval":
            parts.pop("chosen on")
        found[task, name] = parts
    return found


def share(hits: int, of: int) -> dict[str, Any]:
    """With Wilson's interval, 95 %."""
    ci = binomtest(hits, of).proportion_ci(method="wilson")
    return {"hits": hits, "of": of, "share": hits / of, "low": float(ci.low), "high": float(ci.high)}


def judged(task: str, examples: Sequence[Example], answers: Sequence[Answer]) -> list[dict[str, Finding]]:
    return check_all(examples, answers, task, SETTINGS)


def fired(found: Mapping[str, Finding]) -> bool:
    return any(finding.fired for finding in found.values())


def false_alarms(task: str, examples: Examples, show: bool) -> dict[str, Any]:
    """Over references; `cases` names them without their text, which stays with the published sets."""
    found = judged(task, examples, [Answer(e.response or "") for e in examples])
    cases = [
        {"id": e.id, "constraint": name, "measure": f.measure, "amount": round(float(f.amount), 4)}
        for e, each in zip(examples, found, strict=True)
        for name, f in each.items()
        if f.fired
    ]
    if show:
        for e, each in zip(examples, found, strict=True):
            for name, f in each.items():
                if f.fired:
                    print(f"    {name} ({f.reason}): {e.id} {(e.response or '')[:200]!r}")
    alone = judged(task, [replace(e, response=None) for e in examples], [Answer(e.response or "") for e in examples])
    by_constraint = {name: sum(each[name].fired for each in found) for name in CONSTRAINTS}
    return {
        "any": share(sum(map(fired, found)), len(found)),
        "any_without_reference": share(sum(map(fired, alone)), len(alone)),
        "by_constraint": by_constraint,
        "length_without_reference": sum(each["length"].fired for each in alone),
        "cases": cases,
    }


def families(task: str, examples: Examples, show: bool) -> dict[str, Any]:
    """Of each degenerate family: the share that is hit, and the share whose reward is capped."""
    rng = random.Random(0)
    chosen = rng.sample(examples, min(NUM_HONEST, len(examples)))
    pool = [e.response or "" for e in examples]
    table = {}
    for name, family in FAMILIES.items():
        made = [(e, answer) for e in chosen if (answer := family(e.response or "", pool, rng)) is not None]
        found = judged(task, [e for e, _ in made], [answer for _, answer in made])
        capped = sum(any(f.floor is not None for f in each.values()) for each in found)
        table[name] = {**share(sum(map(fired, found)), len(found)), "capped": capped}
        if show:
            missed = [a.text[:160] for (_, a), each in zip(made, found, strict=True) if not fired(each)]
            print(f"    {task}, {name}: {len(missed)} of {len(made)} missed", *missed[:3], sep="\n        ")
    return table


def disguises() -> dict[str, Any]:
    """Each insult in each spelling, five times, alone."""
    rng = random.Random(0)
    example = Example("insult", "Hello.")
    table = {}
    for name, disguise in {"none": lambda word, rng: word, **DISGUISES}.items():
        texts = [
            "".join(disguise(part, rng) if part.isalpha() and len(part) > 2 else part for part in _parts(insult))
            for insult in INSULTS
            for _ in range(5)
        ]
        found = judged("safety", [example] * len(texts), [Answer(text) for text in texts])
        table[name] = share(sum(each["toxicity"].fired for each in found), len(found))
    return table


def _parts(text: str) -> list[str]:
    parts, last = [], ""
    for c in text:
        if last and c.isalpha() != last[-1].isalpha():
            parts.append(last)
            last = ""
        last += c
    return [*parts, last]


def hate(folder: Path) -> dict[str, Any]:
    """HateCheck (Röttger et al. 2021): hate of groups in short sentences, and its look-alikes."""
    with (folder / "hatecheck" / "test_suite_cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    example = Example("case", "Hello.")
    found = judged("safety", [example] * len(rows), [Answer(row["test_case"]) for row in rows])
    return {
        label: share(
            sum(f["toxicity"].fired for f, row in zip(found, rows, strict=True) if row["label_gold"] == label),
            sum(row["label_gold"] == label for row in rows),
        )
        for label in ("hateful", "non-hateful")
    }


def percentiles(given: Mapping[tuple[str, str], dict[str, Examples]]) -> dict[str, dict[str, list[float]]]:
    """Raw amounts on the published references that limits were chosen on: [median, 99 %, 99.8 %, highest] by task."""
    table: dict[str, dict[str, list[float]]] = {}
    for task in ("clinical", "safety", "code"):
        examples = [
            e for (t, n), parts in given.items() if t == task and n != "builtin" for e in parts.get("chosen on", [])
        ]
        own = TASK_LIMITS[task]
        loops = replace(own.repetition, loop_words=1, long_loop_words=1)  # a loop below its limit isn't looked for
        blanks = replace(own.length, max_blanks=0, max_blank_share=0.0, max_line_breaks=0)
        amounts: dict[str, list[float]] = {}
        for e in examples:
            answer = Answer(e.response or "")
            found = [*repetition(answer.text, loops), *length(answer, None, blanks, unfinished=0.0)]
            for measure in found:
                if measure.name not in ("short", "long"):
                    amounts.setdefault(measure.name, []).append(measure.amount)
        for name, values in amounts.items():
            rare = name in ("blanks", "blank share", "line breaks")  # said only where there is any
            padded = values + [0.0] * (len(examples) - len(values)) if rare else values
            table.setdefault(name, {})[task] = [float(np.percentile(padded, q)) for q in (50, 99, 99.8, 100)]
    return table


def rates(examples: Mapping[str, Examples]) -> dict[str, float]:
    """Answers of 1,000 characters (about 250 tokens) a second of processor time, by task."""
    table = {}
    for task, given in examples.items():
        text = "\n".join(e.response or "" for e in given)
        pieces = [text[i : i + 1000] for i in range(0, len(text) - 1000, 1000)][:NUM_TIMED]
        answered = [replace(given[0], response=None)] * len(pieces)
        judged(task, answered[:1], [Answer(pieces[0])])  # loads the classifier
        started = time.process_time()
        judged(task, answered, [Answer(piece) for piece in pieces])
        table[task] = len(pieces) / (time.process_time() - started)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.constraints", description="Hits and false alarms.")
    parser.add_argument("--page", action="store_true", help="only write the tables again, from what was kept")
    parser.add_argument("--texts", action="store_true", help="print every reference that was hit, and what was missed")
    parser.add_argument("--part", choices=("chosen on", "report"), help="only this part; nothing is written")
    options = parser.parse_args(argv)
    if options.page:
        write_page()
        return 0
    folder = data_folder()
    given = sets(folder)
    document: dict[str, Any] = {
        "made_by": "python -m benchmarks.constraints",
        "machine": describe(),
        "false_alarms": [],
    }
    degenerate: dict[str, dict[str, Any]] = {"chosen on": {}, "report": {}}
    for (task, name), parts in given.items():
        for part, examples in parts.items():
            if options.part in (None, part):
                row = {"task": task, "set": name, "part": part, **false_alarms(task, examples, options.texts)}
                document["false_alarms"].append(row)
                print(task, name, part, json.dumps(row["any"]), json.dumps(row["by_constraint"]), flush=True)
                if name in ("MTS-Dialog", "HH-RLHF harmless, chosen", "MBPP"):
                    degenerate[part][task] = families(task, examples, options.texts)
                    weak = {k: v["share"] for k, v in degenerate[part][task].items() if v["hits"] < v["of"]}
                    print(task, part, "not all hit:", json.dumps(weak), flush=True)
    document["percentiles"] = percentiles(given)
    document["families"] = degenerate
    document["disguises"] = disguises()
    document["hatecheck"] = hate(folder)
    first = {task: given[task, name]["chosen on"] for task, name in list(given)[:3]}
    document["a_second"] = rates(first)
    print(json.dumps({k: document[k] for k in ("disguises", "hatecheck", "a_second")}, indent=1))
    if options.part is None:
        KEPT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main())
