"""How the programmatic rewards rank texts of mixed quality, beside evaluation's measures, and how fast they are.

python -m benchmarks.programmatic_rewards [NUM]     prints the tables of docs/rewards.md

Builtin visits and problems, whose facts and hidden tests are known. Notes: the reference, corruptions of it, the note
of another visit, the dialogue itself, nothing. Programs: the reference, mutants of it, another problem's program,
nothing. Rewards and evaluation share no code, so this script may import both and nothing else does.
"""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence

from scipy.stats import spearmanr

from gemma_align.data.builtin.clinical import clinical_example
from gemma_align.data.builtin.code import code_example
from gemma_align.data.pairs.notes import corruptions
from gemma_align.data.pairs.programs import mutants
from gemma_align.evaluation.clinical import measure
from gemma_align.evaluation.code import measure as measure_programs
from gemma_align.rewards.clinical import ClinicalReward
from gemma_align.rewards.code import CodeReward
from gemma_align.rewards.facts.claims import claims
from gemma_align.rewards.facts.dialogue import heard_in, stated_in
from gemma_align.rewards.facts.words import read
from gemma_align.types import Answer, Example

Row = tuple[str, Example, str]  # kind of text, what it answers, the text


def notes(num: int) -> list[Row]:
    visits = [clinical_example(0, "tune", i) for i in range(num)]
    rows: list[Row] = []
    for visit, other in zip(visits, [*visits[1:], visits[0]], strict=True):
        rows.append(("reference", visit, visit.response or ""))
        rows += [("corrupted", visit, made.text) for made in corruptions(visit.response or "", 0)[:2]]
        rows += [
            ("another's", visit, other.response or ""),
            ("dialogue", visit, visit.prompt.partition("\n\n")[2]),
            ("nothing", visit, ""),
        ]
    return rows


def programs(num: int) -> list[Row]:
    problems = [code_example(0, "tune", i) for i in range(num)]
    rows: list[Row] = []
    for problem, other in zip(problems, [*problems[1:], problems[0]], strict=True):
        rows.append(("reference", problem, problem.response or ""))
        rows += [("mutant", problem, made.text) for made in mutants(problem.response or "", 0)[:3]]
        rows += [("another's", problem, other.response or ""), ("nothing", problem, "")]
    return rows


def table(rows: Sequence[Row], rewards: Mapping[str, Sequence[float]], gold: Mapping[str, Sequence[float]]) -> None:
    columns = {**rewards, **gold}
    print(f"{'':10} {'texts':>6}  " + "  ".join(columns))
    for kind in dict.fromkeys(kind for kind, _, _ in rows):
        at = [i for i, row in enumerate(rows) if row[0] == kind]
        means = "  ".join(
            f"{statistics.mean(column[i] for i in at):{len(name)}.3f}" for name, column in columns.items()
        )
        print(f"{kind:10} {len(at):6}  {means}")
    for name, reward in rewards.items():
        for other, measured in gold.items():
            print(f"rank correlation of {name} and {other}: {spearmanr(reward, measured).statistic:.3f}")


def main() -> None:
    num = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    rows = notes(num)
    examples, answers = [row[1] for row in rows], [Answer(row[2]) for row in rows]
    rewards, cpu = {}, {}
    for name, reward in (("listed", ClinicalReward()), ("dialogue", ClinicalReward(use_checks=False))):
        for cache in (read, claims, heard_in, stated_in):
            cache.cache_clear()
        start = time.process_time()
        rewards[name] = reward.score(examples, answers).total.tolist()
        cpu[name] = len(rows) / (time.process_time() - start)
    measured = [measure(example, text) for _, example, text in rows]
    coverage = [m.get("fact_coverage", 0.0) for m in measured]
    invented = [m["invented_facts"] for m in measured]
    balance = [
        c - i / max(len(example.checks["facts"]), 1)
        for c, i, (_, example, _) in zip(coverage, invented, rows, strict=True)
    ]
    table(rows, rewards, {"fact_coverage": coverage, "-invented": [-i for i in invented], "balance": balance})
    print("notes a second of processor time, nothing cached before: " + str({k: round(v) for k, v in cpu.items()}))

    rows = programs(num // 4)
    examples = [row[1] for row in rows]
    with CodeReward() as code:
        code.score(examples[:1], [Answer(rows[0][2])])  # starts the sandbox
        start = time.perf_counter()
        totals = code.score(examples, [Answer(row[2]) for row in rows]).total.tolist()
        rate = len(rows) / (time.perf_counter() - start)
    graded = measure_programs(examples, [row[2] for row in rows])
    gold = {name: [m[name] for m in graded] for name in ("test_share", "pass@1")}
    table(rows, {"visible tests": totals}, gold)
    print(f"programs a second of wall time: {rate:.0f}")


if __name__ == "__main__":
    main()
