"""Folders that are made beside their place, and what a killed maker leaves."""

import os
import subprocess
import sys

import pytest

from gemma_align.experiments.unfinished import unfinished


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


def test_what_a_dead_maker_of_this_machine_left_is_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with unfinished(tmp_path / "thing") as place:
        mine = place.name.rpartition(f"{os.getpid()}-")[0]
    dead = [f"{mine}{ended.pid}-0a", f"{mine}{ended.pid}0000000-0b"]  # the second: numbers don't go so far
    others = [f"{mine}{os.getppid()}-0a", f".thing-elsewhere-{ended.pid}-0a", ".thing-else", ".other-1", f"{mine}-0a"]
    for name in (*dead, *others):
        (tmp_path / name / "part").mkdir(parents=True)
    with unfinished(tmp_path / "thing") as place:
        assert sorted([*others, place.name]) == names(tmp_path)


def test_two_makers_in_one_process_don_t_meet(tmp_path):
    with unfinished(tmp_path / "thing") as one, unfinished(tmp_path / "thing") as other:
        assert one != other
    assert names(tmp_path) == []
