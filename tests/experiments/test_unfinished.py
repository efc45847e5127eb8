"""Folders that are made beside their place, and what a killed maker leaves."""

import os
import subprocess
import sys

import pytest

from gemma_align.experiments.unfinished import LEFT_SECONDS, unfinished


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_is_gone_unless_it_was_renamed(tmp_path):
    target = tmp_path / "deep" / "thing"
    with unfinished(target) as place:
        (place / "file").write_text("half")
    assert names(target.parent) == []
    with pytest.raises(ZeroDivisionError), unfinished(target) as place:
        1 / 0  # noqa: B018
    assert names(target.parent) == []
    with unfinished(target) as place:
        (place / "file").write_text("whole")
        place.rename(target)
    assert names(target.parent) == ["thing"]
    assert (target / "file").read_text() == "whole"


def test_only_what_a_dead_maker_left_long_ago_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    old = {
        "age": LEFT_SECONDS + 60,
        "names": [f".thing-{ended.pid}", f".thing-{os.getppid()}", ".thing-else", ".other-1"],
    }
    young = [f".thing-{ended.pid}0000000"]  # of no process, since numbers don't go so far
    for name in (*old["names"], *young):
        (tmp_path / name / "part").mkdir(parents=True)
    past = os.stat(tmp_path).st_mtime - old["age"]
    for name in old["names"]:
        for path in (tmp_path / name / "part", tmp_path / name):
            os.utime(path, (past, past))
    with unfinished(tmp_path / "thing"):
        left = names(tmp_path)
    assert f".thing-{ended.pid}" not in left
    assert {f".thing-{os.getppid()}", ".thing-else", ".other-1", *young, f".thing-{os.getpid()}"} == set(left)
