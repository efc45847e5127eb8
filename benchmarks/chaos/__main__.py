"""`make chaos`: everything that may go wrong with a run, and what came of it, into docs/reliability.md.

python -m benchmarks.chaos [--only kills|others] [--kills 125] [--trials 1] [--short] [--dry] [--seed 0]
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos import page, trials
from benchmarks.chaos.lives import import_what_runs_import
from benchmarks.chaos.runs import METHODS, Bench, Run
from benchmarks.chaos.trials import Tried
from benchmarks.errors import BenchmarkError
from benchmarks.kept import keep

KILLS_A_RUN = 6
SAMPLING = ("grpo", "ppo", "rejection")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=125, help="at least so many over all methods (default 125)")
    parser.add_argument("--trials", type=int, default=1, help="of each other kind and method (default 1)")
    parser.add_argument("--only", choices=("kills", "others"), help="one part; what is kept of the other stays")
    parser.add_argument("--short", action="store_true", help="one method and a trial of each kind; as in the tests")
    parser.add_argument("--dry", action="store_true", help="print the table, write nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--render", action="store_true", help="write the page again from what was kept")
    options = parser.parse_args(argv)
    if options.render:
        page.write_page()
        return 0
    # What runs in the background is born with it ignored, and so would the runs be
    signal.signal(signal.SIGINT, signal.default_int_handler)
    began, work = time.monotonic(), Path(tempfile.mkdtemp(prefix="chaos-"))
    bench = Bench(work, random.Random(options.seed), real=not options.short)
    import_what_runs_import(Run(bench, "rejection" if options.short else "ppo").arguments, work / "first.log")
    done: list[Tried] = []
    for tried in short(bench) if options.short else chosen(bench, options):
        done += tried
        for one in tried:
            print(f"{time.monotonic() - began:6.0f} s  {one.method:10} {one.fault}: {one.problem or 'nothing lost'}")
        sys.stdout.flush()
    lost = sum(bool(one.problem) for one in done)
    rows = summary(done)
    print(page.render(rows))
    if lost:
        print(f"what was lost lies in {work}")
    else:
        shutil.rmtree(work)
    if not options.dry and not options.short:
        keep("chaos", page.merged(rows))
        page.write_page()
    return 1 if lost else 0


def chosen(bench: Bench, options: argparse.Namespace) -> Iterator[list[Tried]]:
    if options.only != "others":
        yield from kills(bench, options.kills)
    if options.only != "kills":
        yield from others(bench, options.trials)


def kills(bench: Bench, wanted: int) -> Iterator[list[Tried]]:
    for method in METHODS:
        num_kills = 0
        while num_kills < -(-wanted // len(METHODS)):
            tried = trials.killed(bench, method, KILLS_A_RUN)
            num_kills += len(tried)
            yield tried


def others(bench: Bench, each: int) -> Iterator[list[Tried]]:
    for _ in range(each):
        for method in METHODS:
            for number in (signal.SIGINT, signal.SIGTERM):
                yield trials.asked_to_stop(bench, method, number)
            yield trials.bits_flipped(bench, method)
            yield trials.other_bits_flipped(bench, method)
            yield trials.write_fails(bench, method)
            yield trials.gradient_spoiled(bench, method)
            yield from disk_full(bench, method)
        for what in ("raises", "hangs", "gives NaN", "gives text"):
            yield trials.term_broken(bench, bench.chance.choice(SAMPLING), what)
        for times in (1, 8):
            yield trials.sandbox_killed(bench, times)


def short(bench: Bench) -> Iterator[list[Tried]]:
    """One method that samples and has one stage, so that it is quick."""
    yield trials.killed(bench, "rejection", 2)
    yield trials.bits_flipped(bench, "rejection")
    yield trials.other_bits_flipped(bench, "rejection")
    yield from disk_full(bench, "rejection")


def disk_full(bench: Bench, method: str) -> Iterator[list[Tried]]:
    try:
        yield trials.disk_full(bench, method)
    except BenchmarkError as error:
        print(error)


def summary(done: Sequence[Tried]) -> list[dict[str, Any]]:
    tried, lost = Counter(one.fault for one in done), Counter(one.fault for one in done if one.problem)
    return [
        {
            "fault": fault,
            "methods": sorted({one.method for one in done if one.fault == fault}, key=list(METHODS).index),
            "tried": tried[fault],
            "survived": tried[fault] - lost[fault],
            "lost": lost[fault],
        }
        for fault in sorted(tried)
    ]


if __name__ == "__main__":
    sys.exit(main())
