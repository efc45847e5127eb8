"""`python -m benchmarks [--only sft|sampling|update|dpo|grpo|ppo] [--pairs N]`; `make bench` calls it."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.environment import ENVIRONMENTS, peer_python
from benchmarks.errors import BenchmarkError
from benchmarks.machine import complaint, describe, describe_line, measure_load, require_quiet, today
from benchmarks.report import HEADINGS, PAGE, RESULTS, cells, load, merge, save, write_page
from benchmarks.targets import verdicts
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.common import Bench

SETTLE = 240.0  # seconds the load of our own set-up may take to fade
WIDTH = 170  # columns of the table where no terminal says how many there are


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed and memory against peers.")
    parser.add_argument("--only", choices=tuple(WORKLOADS), help="measure one group and keep the other rows")
    parser.add_argument("--pairs", type=int, default=3, help="rounds in which everyone runs once (default 3)")
    parser.add_argument(
        "--checkpoint", default="bundled:gemma-3-270m", help="weights; llama.cpp has the default's only"
    )
    parser.add_argument("--examples", type=int, default=48, help="examples of the SFT epoch")
    parser.add_argument("--prompts", type=int, nargs="+", default=[2, 4, 8], help="sampled side by side, 8 rows each")
    parser.add_argument("--anyway", action="store_true", help="measure on a loaded machine; the rows are marked")
    parser.add_argument("--dry", action="store_true", help="print the table, write nothing")
    parser.add_argument("--profile", action="store_true", help="profile ours instead of measuring anything")
    parser.add_argument("--render", action="store_true", help="write the page again from results.json, measure nothing")
    options = parser.parse_args(argv)
    if options.pairs < 1 or options.examples < 1 or min(options.prompts) < 1:
        parser.error("--pairs, --examples and --prompts take numbers of at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments(argv)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    try:
        if options.render:
            write_page(load())
            return 0
        rows = measure(console, options)
        if options.profile:
            return 0
        console.print(pretty(rows))
        for target, value, met in verdicts(rows):
            console.print(f"{'met   ' if met else 'missed'}  {target.text}: {value:.3g}", highlight=False)
        if not options.dry:
            merged = merge(load(), rows, tuple(WORKLOADS))
            save(merged)
            write_page(merged)
            console.print(f"written: {RESULTS}, {PAGE}")
    except KeyboardInterrupt:
        console.print("stopped: nothing was written", style="bold red")
        return 130
    except BenchmarkError as error:
        console.print("stopped:", style="bold red", end=" ")
        console.print(str(error), soft_wrap=True, markup=False, highlight=False)
        return 2
    return 0


def measure(console: Console, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of all groups asked for."""

    def say(message: str) -> None:
        console.print(message, highlight=False, markup=False, soft_wrap=True)

    names = [options.only] if options.only else list(WORKLOADS)
    machine = describe()
    say(describe_line(machine))
    if not options.anyway:
        require_quiet()
    elif (reason := complaint(measure_load())) is not None:
        say(f"measured anyway: {reason}")
    old = load()  # a file that can't be read should be known before an hour of measuring
    say(f"{len(old)} rows in {RESULTS.name}")
    with_peers = [name for name in names if name in ENVIRONMENTS and not options.profile]
    bench = Bench(
        peer_pythons={name: peer_python(ENVIRONMENTS[name], say) for name in with_peers},
        checkpoint=options.checkpoint,
        num_rounds=options.pairs,
        say=say,
        facts={
            "machine": machine,
            "date": today(),
            "command": "make bench" + (f" ONLY={options.only}" if options.only else ""),
        },
        repeat_disturbed=not options.anyway,
        num_examples=options.examples,
        batch_sizes=tuple(sorted(set(options.prompts))),
        profile=options.profile,
    )
    rows: list[dict[str, Any]] = []
    for name in names:
        bench.prepared  # noqa: B018 - made before the machine is looked at again
        if not options.anyway:
            require_quiet(wait=SETTLE)
        rows += WORKLOADS[name](bench)
    for peer in {row["peer"]: row for row in rows if row["peer"]}.values():
        say(f"{peer['peer']} ran with: {peer['peer_settings']}")
    return rows


def pretty(rows: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    table = Table(title="ratio: the peer's time over ours")
    for i, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if i < 3 else "right")
    for row in rows:
        table.add_row(*cells(row))
    return table


if __name__ == "__main__":
    sys.exit(main())
