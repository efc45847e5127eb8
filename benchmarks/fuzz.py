"""`make fuzz`: malformed configurations, overrides and data files, and how many were tried into docs/reliability.md.

python -m benchmarks.fuzz [--cases 2000] [--render] [--log FILE ...]
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.kept import KEPT, ROOT, keep
from benchmarks.pages import write_block

FILES = {
    "tests/test_config.py": "configuration",
    "tests/data/test_malformed.py": "data file",
    "tests/experiments/test_bad_input.py": "command line, to the first update or further",
}
_PROPERTY = re.compile(r"^(tests/[\w/]+\.py)::test_(\w+)(?:\[.*\])?:$", flags=re.M)
_COUNTS = re.compile(r"(\d+) passing, (\d+) failing,? and (\d+) invalid test cases")

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="of each property (default 2000)")
    parser.add_argument(
        "--log", type=Path, nargs="+", help="what runs of these tests have said already: nothing is run"
    )
    parser.add_argument("--render", action="store_true", help="write the page again from what was kept")
    options = parser.parse_args(argv)
    status = 0
    if not options.render:
        if options.log:
            said = "\n".join(path.read_text(errors="replace") for path in options.log)
        else:
            status, said = _run(options.cases)
        if not (rows := counted(said)) or status > 1:  # 1: some property failed, which is told
            print("the tests didn't run to their end: see above", file=sys.stderr)
            return status or 1
        keep("fuzz", rows)
    found = render(json.loads((KEPT / "fuzz.json").read_text()))
    print(found)
    write_block(ROOT / "docs" / "reliability.md", "fuzz", found)
    return status


def _run(cases: int) -> tuple[int, str]:
    """Exit status and output of the tests, which is shown as it comes."""
    command = [sys.executable, "-m", "pytest", "-n", "0", "--hypothesis-show-statistics", *FILES]
    environment = os.environ | {"CASES": str(cases), "OMP_NUM_THREADS": "1"}
    lines = []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as tests:
        assert tests.stdout is not None
        for line in tests.stdout:
            sys.stdout.write(line)
            lines.append(line)
    return tests.returncode, "".join(lines)


def counted(said: str) -> list[Row]:
    """Of each property: how many cases held, how many didn't, summed over hypothesis' phases."""
    rows = []
    _, *parts = _PROPERTY.split(said)  # file, property and what is said of it, again and again
    for file, name, told in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        counts = _COUNTS.findall(told)
        if counts and file in FILES:
            held, failed = (sum(int(count[i]) for count in counts) for i in (0, 1))
            rows.append({"file": file, "property": name.replace("_", " "), "tried": held + failed, "failed": failed})
    return rows


def render(rows: Sequence[Row]) -> str:
    """The table."""
    lines = ["| given to | property | tried | failed |", "| --- | --- | --- | --- |"]
    lines += [f"| {FILES[row['file']]} | {row['property']} | {row['tried']:,} | {row['failed']} |" for row in rows]
    tried, failed = (sum(row[name] for row in rows) for name in ("tried", "failed"))
    return "\n".join([*lines, f"| all |  | {tried:,} | {failed} |"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
