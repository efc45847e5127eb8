"""`python -m benchmarks.sandbox [--programs N] [--workers N] [--rounds N]`: graded programs a second.

The programs are the builtin problems' reference solutions and, every other one, a wrong one, with seven tests each:
what a sampler's responses ask of the sandbox where they end by themselves. Programs that hang cost their time limit.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Sequence

from benchmarks.machine import complaint, describe, describe_line, measure_load
from gemma_align.data.builtin.code import code_example
from gemma_align.evaluation.code import LIMITS, job
from gemma_align.sandbox import Program, Sandbox

TARGET = 200  # a second, on two cores


def programs(count: int) -> list[Program]:
    made = []
    for i in range(count):
        example = code_example(0, "train", i)
        code = example.response or ""
        made.append(job(example, code if i % 2 else code.replace("return ", "return 1 or ")))
    return made


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sandbox", description="Graded programs a second.")
    parser.add_argument("--programs", type=int, default=600, help="graded in a round (default 600)")
    parser.add_argument("--workers", type=int, help="side by side (default: one a core)")
    parser.add_argument("--rounds", type=int, default=3, help="(default 3)")
    options = parser.parse_args(argv)
    if min(options.programs, options.rounds, options.workers or 1) < 1:
        parser.error("--programs, --workers and --rounds take numbers of at least 1")
    print(describe_line(describe()))
    if (reason := complaint(measure_load())) is not None:
        print(f"the machine is busy ({reason}): the rate is a lower bound")
    given = programs(options.programs)
    started = time.perf_counter()
    before = processor_seconds()
    with Sandbox(LIMITS, num_workers=options.workers) as sandbox:
        print(f"start and probes: {time.perf_counter() - started:.2f} s; layers: {', '.join(sandbox.layers)}")
        rates, latencies = [], []
        for _ in range(options.rounds):
            started = time.perf_counter()
            grades = sandbox.grade(given)
            rates.append(len(given) / (time.perf_counter() - started))
            latencies += [grade.seconds for grade in grades]
        passed = sum(grade.all_passed for grade in grades)
        print(f"{len(given)} programs, {passed} pass; rounds: {', '.join(f'{rate:.0f}' for rate in rates)} a second")
        print(
            f"{statistics.median(rates):.0f} programs a second on {len(sandbox.pids)} workers (wanted: {TARGET} on 2)"
        )
        print(f"median {1000 * statistics.median(latencies):.1f} ms from start to verdict")
    spent = (processor_seconds() - before) / (len(given) * options.rounds)
    print(f"{1000 * spent:.1f} ms of processor a program, the sandbox's start and this process included")
    return 0


def processor_seconds() -> float:
    """Of this process and of its children that have ended, theirs included: little of it depends on other work."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    sys.exit(main())
