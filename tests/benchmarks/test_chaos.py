"""A few of the trials of `make chaos`, in a process that has computed nothing, because it forks."""

import re
import subprocess
import sys

import pytest
from tests.experiments.test_runner import ENVIRONMENT, ROOT


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: it mounts a disk of its own")
def test_runs_that_are_killed_damaged_and_starved_of_disk_lose_nothing():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", "--short"],
        env=ENVIRONMENT | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(re.findall(r"^\| (.+?) \|.*?\| (\d+ \| \d+ \| \d+) \|$", done.stdout, flags=re.M))
    assert rows["a bit flipped in the newest checkpoint, then in all"] == "1 | 1 | 0"
    assert any(fault.startswith("kill -9") for fault in rows), rows
    tried, survived, lost = rows["all"].split(" | ")
    assert tried == survived
    assert lost == "0"
