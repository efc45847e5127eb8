import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from gemma_align.errors import RunDirError, UserError
from gemma_align.experiments import run_dir as run_dir_module
from gemma_align.experiments.config_diff import config_differences
from gemma_align.experiments.files import json_text
from gemma_align.experiments.jsonl import damaged_log, read_lines
from gemma_align.experiments.lock import FolderLock
from gemma_align.experiments.run_dir import AlreadyFinished, RunDir
from gemma_align.experiments.run_paths import RunPaths

CONFIG = "task: clinical\nseed: 1\noutput_dir: runs/a\ntraining:\n  batch_size: 8\n  learning_rate: 0.001\n"


def begun(path: Path, config: str = CONFIG) -> None:
    """An unfinished run that did one update."""
    with RunDir.open(path, config) as run:
        run.metrics.append({"step": 1})


def contents(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*"))


def status(path: Path) -> dict:
    return json.loads((path / "status.json").read_text())


def test_a_new_run_says_what_it_is_made_with(tmp_path):
    path = tmp_path / "runs" / "a"
    with RunDir.open(path, CONFIG) as run:
        run.add_environment({"seed": 1, "device": "cpu", "data": {"train": "abc"}})
        assert not run.resumed
        assert status(path)["state"] == "running"
        assert status(path)["pid"] == os.getpid()
        run.finish("all done")
    assert (path / "config.yml").read_text() == CONFIG
    environment = json.loads((path / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["python"] == sys.version.split()[0]
    assert environment["cores"] >= 1
    assert environment["command"] == sys.argv
    assert (environment["seed"], environment["device"]) == (1, "cpu")
    assert {"commit", "changed", "gemma_align"} == set(environment["code"])
    assert status(path)["state"] == "finished"
    assert status(path)["message"] == "all done"


def test_the_commit_is_recorded_only_for_code_that_git_knows(tmp_path):
    from gemma_align.experiments.environment import _commit

    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    package = tmp_path / "experiments"
    package.mkdir()
    (package / "environment.py").write_text("one = 1\n")
    assert _commit(package) == {"commit": None, "changed": None}
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    found = _commit(package)
    assert len(found["commit"]) == 40
    assert found["changed"] is False
    (package / "environment.py").write_text("one = 2\n")
    assert _commit(package) == {"commit": found["commit"], "changed": True}


def test_an_empty_folder_becomes_a_run(tmp_path):
    (tmp_path / ".gitkeep").touch()
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        assert not run.resumed


@pytest.mark.parametrize("name", ["thesis.tex", "config.yml", "metrics.jsonl", ".git"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunDirError, match=r"holds files, but no run.*output_dir="):
        RunDir.open(tmp_path, CONFIG)
    assert contents(tmp_path) == [name]


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "a").write_text("mine")
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(RunDirError, match="Can't write a run to"):
            RunDir.open(path, CONFIG)
    assert (tmp_path / "a").read_text() == "mine"


def test_an_unfinished_run_needs_resume(tmp_path):
    begun(tmp_path)
    assert status(tmp_path)["state"] == "interrupted"
    with pytest.raises(RunDirError, match=r"unfinished run of this configuration.*--resume.*output_dir=.*delete"):
        RunDir.open(tmp_path, CONFIG)
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        assert run.resumed
        assert run.metrics.size() == len('{"step": 1}\n')


def test_a_finished_run_is_not_written_again(tmp_path):
    with RunDir.open(tmp_path, CONFIG) as run:
        run.finish()
    before = {name: (tmp_path / name).read_bytes() for name in ("status.json", "environment.json")}
    with pytest.raises(RunDirError, match=r"finished run of this configuration.*output_dir=.*delete") as caught:
        RunDir.open(tmp_path, CONFIG)
    assert not isinstance(caught.value, AlreadyFinished)
    with pytest.raises(AlreadyFinished, match="already finished: nothing is left to do"):
        RunDir.open(tmp_path, CONFIG, resume=True)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


@pytest.mark.parametrize("resume", [False, True])
def test_another_configuration_is_named_setting_by_setting(tmp_path, resume):
    begun(tmp_path)
    other = CONFIG.replace("8", "4").replace("seed: 1\n", "").replace("0.001", "0.01") + "  schedule: linear\n"
    with pytest.raises(RunDirError) as caught:
        RunDir.open(tmp_path, other, resume=resume)
    lines = str(caught.value).splitlines()
    assert "  seed: 1 there, not set now" in lines
    assert "  training.batch_size: 8 there, 4 now" in lines
    assert "  training.learning_rate: 0.001 there, 0.01 now" in lines
    assert "  training.schedule: not set there, 'linear' now" in lines
    assert not any("output_dir:" in line for line in lines)


def test_of_many_differences_the_first_are_shown(tmp_path):
    begun(tmp_path, "".join(f"k{i}: 0\n" for i in range(8)))
    with pytest.raises(RunDirError, match=r"k4: 0 there, 1 now\n  and 3 more\n"):
        RunDir.open(tmp_path, "".join(f"k{i}: 1\n" for i in range(8)))


def test_where_a_run_is_kept_and_watched_may_change(tmp_path):
    begun(tmp_path, CONFIG + "tracking:\n  trackers: []\ncheckpoint:\n  every: 5\n  keep: 2\n")
    changed = CONFIG.replace("runs/a", "/elsewhere") + "tracking:\n  trackers: [wandb]\ncheckpoint: {every: 9, keep: 1}"
    with RunDir.open(tmp_path, changed, resume=True) as run:
        assert run.resumed


@pytest.mark.parametrize("config", [None, "", "a: [", "\0"])
def test_results_whose_configuration_is_lost_are_left_alone(tmp_path, config):
    begun(tmp_path)
    (tmp_path / "config.yml").unlink() if config is None else (tmp_path / "config.yml").write_text(config)
    with pytest.raises(RunDirError, match=r"config.yml can't be read"):
        RunDir.open(tmp_path, CONFIG, resume=True)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_a_copy_without_lock_file_is_still_a_run(tmp_path):
    begun(tmp_path)
    (tmp_path / "run.lock").unlink()
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        assert run.resumed


@pytest.mark.parametrize("error", [UserError("no such checkpoint"), KeyboardInterrupt(), SystemExit(2)])
def test_a_start_that_fails_before_anything_was_done_leaves_nothing(tmp_path, error):
    def start(path: Path) -> None:
        with RunDir.open(path, CONFIG) as run:
            run.paths.tensorboard.mkdir()
            (run.paths.tensorboard / "events").write_text("x")
            raise error

    with pytest.raises(type(error)):
        start(tmp_path / "a")
    assert contents(tmp_path) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(type(error)):
        start(tmp_path / "a")
    assert contents(tmp_path) == ["a"], "a folder that was there stays"


def test_a_files_owner_finds_it_again_after_a_failed_start(tmp_path):
    with contextlib.suppress(UserError), RunDir.open(tmp_path / "a", CONFIG) as run:
        (run.paths.root / "notes.txt").write_text("mine")
        raise UserError
    assert contents(tmp_path / "a") == ["notes.txt"]


def test_a_bug_at_the_start_leaves_its_trace_but_blocks_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), RunDir.open(tmp_path, CONFIG):
        1 / 0  # noqa: B018
    assert "ZeroDivisionError" in (tmp_path / "run.log").read_text()
    assert status(tmp_path)["state"] == "failed"
    assert status(tmp_path)["message"] == "ZeroDivisionError: division by zero"
    with RunDir.open(tmp_path, CONFIG.replace("8", "9")) as run:
        assert not run.resumed
    assert "ZeroDivisionError" not in (tmp_path / "run.log").read_text()


@pytest.mark.parametrize(
    ("error", "state"), [(None, "interrupted"), (UserError("x"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_how_a_run_ends_becomes_its_state(tmp_path, error, state):
    with contextlib.suppress(UserError, KeyboardInterrupt), RunDir.open(tmp_path, CONFIG) as run:
        run.metrics.append({"step": 1})
        run.set_status(stage="sft", step=1)
        if error:
            raise error
    assert status(tmp_path)["state"] == state
    assert (status(tmp_path)["stage"], status(tmp_path)["step"]) == ("sft", 1)
    assert "Traceback" not in (tmp_path / "run.log").read_text(), "what the user can mend needs no trace"


def test_a_full_disk_at_the_start_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_dir_module, "write_text", full)
    with pytest.raises(RunDirError, match="No space left"):
        RunDir.open(tmp_path / "a", CONFIG)
    assert contents(tmp_path) == []
    monkeypatch.undo()
    RunDir.open(tmp_path / "a", CONFIG).__exit__(None, None, None)


def test_a_status_that_can_not_be_written_ends_no_run(tmp_path, monkeypatch, caplog):
    with RunDir.open(tmp_path, CONFIG) as run:
        with monkeypatch.context() as patched:
            patched.setattr(run_dir_module, "write_json", lambda *_: (_ for _ in ()).throw(OSError("full")))
            run.set_status(step=3)
        assert "could not write" in caplog.text
        run.finish()


# --- the lock ---

HOLDER = """
    import os, sys, time
    from gemma_align.experiments.run_dir import RunDir
    run = RunDir.open(sys.argv[1], sys.argv[2])
    run.metrics.append({"step": 1})
    parent = os.fork() if len(sys.argv) > 3 else 0
    if not parent:  # the holder itself, or a worker, which outlives it, once it has let the lock go
        print(os.getpid(), flush=True)
    time.sleep(20)
    os._exit(0)
"""


def holder(path: Path, *more: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(path), CONFIG, *more],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    with holder(tmp_path) as process:
        assert int(process.stdout.readline()) == process.pid
        for resume in (False, True):
            with pytest.raises(
                RunDirError, match=rf"being written by process {process.pid} .*kill {process.pid}.*output_dir="
            ):
                RunDir.open(tmp_path, CONFIG, resume=resume)
        process.kill()
    assert status(tmp_path)["state"] == "running", "kill -9 leaves no time to say otherwise"
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        assert run.resumed


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    with holder(tmp_path, "fork") as process:
        worker = int(process.stdout.readline())
        process.kill()
        try:
            process.wait()
            os.kill(worker, 0)  # it's there
            with RunDir.open(tmp_path, CONFIG, resume=True) as run:
                assert run.resumed
        finally:
            os.kill(worker, signal.SIGKILL)


def test_the_same_process_can_not_open_a_run_twice(tmp_path):
    with RunDir.open(tmp_path, CONFIG), pytest.raises(RunDirError, match=f"process {os.getpid()} "):
        RunDir.open(tmp_path, CONFIG, resume=True)


@pytest.mark.parametrize("taken_by_a_third", [False, True])
def test_a_lock_on_a_file_that_was_removed_guards_nothing(tmp_path, monkeypatch, taken_by_a_third):
    """The first holder removes the file between a second one's opening and locking it."""
    path, flock, third = tmp_path / "lock", fcntl.flock, []
    first = FolderLock(path)

    def late(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        first.release(remove=True)
        if taken_by_a_third:
            third.append(FolderLock(path))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    if taken_by_a_third:
        with pytest.raises(RunDirError, match="is being written by"):
            FolderLock(path)
        third[0].release()
    else:
        FolderLock(path).release()
    FolderLock(path).release(remove=True)
    assert contents(tmp_path) == []


def test_a_disk_that_can_not_lock_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "No locks available")))
    with pytest.raises(RunDirError, match=r"Could not lock .*No locks available.*output_dir="):
        RunDir.open(tmp_path / "a", CONFIG)


MORE_EXAMPLES = CONFIG + "evaluation:\n  num_examples: 5\n"


@pytest.fixture
def measured(tmp_path):
    """A finished run with an evaluation and a checkpoint."""
    with RunDir.open(tmp_path, CONFIG) as run:
        run.metrics.append({"step": 1})
        (run.paths.checkpoints / "step-1").mkdir(parents=True)
        run.paths.evaluation.write_text("{}")
        run.finish()
    return tmp_path


def test_a_finished_run_that_is_to_be_measured_otherwise_is_taken_up_where_resuming_is_asked_for(measured):
    with pytest.raises(RunDirError, match=r"(?s)num_examples: not set there, 5 now.*--resume it is evaluated anew"):
        RunDir.open(measured, MORE_EXAMPLES)
    with pytest.raises(RunDirError, match="another configuration"):
        RunDir.open(measured, MORE_EXAMPLES.replace("seed: 1", "seed: 2"), resume=True)
    with pytest.raises(RunDirError, match="another configuration"):  # the folder of an evaluation, not of a run
        RunDir.open(measured, MORE_EXAMPLES, resume=True, trains=False)
    assert status(measured)["state"] == "finished"
    assert (measured / "evaluation.json").exists()
    with RunDir.open(measured, MORE_EXAMPLES, resume=True) as run:
        assert run.resumed
        assert not run.paths.evaluation.exists()
        assert status(measured)["state"] == "running"
        assert (measured / "config.yml").read_text() == MORE_EXAMPLES
        assert (measured / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_a_kill_while_an_evaluation_is_cleared_leaves_no_finished_run_without_one(measured, monkeypatch):
    monkeypatch.setattr(run_dir_module, "write_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        RunDir.open(measured, MORE_EXAMPLES, resume=True)
    monkeypatch.undo()
    assert status(measured)["state"] != "finished"
    with RunDir.open(measured, CONFIG, resume=True) as run:
        assert run.resumed


def test_evaluations_of_other_settings_are_not_taken_for_those_of_now(tmp_path):
    with RunDir.open(tmp_path, CONFIG) as run:
        run.paths.evaluated.mkdir()
        (run.paths.evaluated / "tuned.json").write_text("")
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        assert run.paths.evaluated.exists()
    with RunDir.open(tmp_path, MORE_EXAMPLES, resume=True) as run:
        assert not run.paths.evaluated.exists()


def test_a_run_whose_checkpoints_are_gone_is_not_trained_again_to_be_measured(measured):
    (measured / "checkpoints" / "step-1").rmdir()
    with pytest.raises(RunDirError, match="gemma-align evaluate --adapter"):
        RunDir.open(measured, MORE_EXAMPLES, resume=True)
    assert status(measured)["state"] == "finished"


def test_settings_in_lists_are_named_and_patience_is_free():
    there = "stages: [{method: sft}, {method: grpo, seed: 1}]\nreward: {terms: [{call: 'm:f', timeout: 60.0}]}\n"
    now = there.replace("60.0", "90.0").replace("seed: 1", "seed: 2")
    assert config_differences(there, now) == ["stages.1.seed: 1 there, 2 now"]


# --- logs ---


def test_records_become_valid_exact_sorted_json():
    record = {
        "z": math.nan,
        "y": [math.inf, -math.inf],
        "x": 0.1 + 0.2,
        "w": np.float32(0.1),
        "v": torch.tensor(3),
        "u": {"k": torch.tensor([1.5, math.nan]), 2: None},
        "t": Path("/a"),
        "s": True,
        "r": "é\u2028\ud800",
        "q": {3, 1},
    }
    text = json_text(record)

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    back = json.loads(text, parse_constant=refuse)
    assert list(back) == sorted(back)
    assert back == {
        "z": "NaN",
        "y": ["Infinity", "-Infinity"],
        "x": 0.1 + 0.2,
        "w": float(np.float32(0.1)),
        "v": 3,
        "u": {"k": [1.5, "NaN"], "2": None},
        "t": "/a",
        "s": True,
        "r": "é\u2028\ud800",
        "q": [1, 3],
    }
    assert len(text.splitlines()) == 1
    assert text.isascii()


def test_a_resumed_runs_logs_are_cut_back_to_the_checkpoint(tmp_path):
    with RunDir.open(tmp_path, CONFIG) as run:
        for step in (1, 2):
            run.metrics.append({"step": step, "loss": 1 / 3})
            run.samples.append({"step": step, "text": "a"})
            run.timings.append({"step": step})
        sizes = run.log_sizes()
        run.metrics.append({"step": 3})
        run.samples.append({"step": 3})
        run.timings.append({"step": 3})
    with (tmp_path / "metrics.jsonl").open("a") as file, (tmp_path / "timings.jsonl").open("a") as other:
        file.write('{"step": 4, "lo')  # as a power cut may leave it
        other.write('{"step": 4, "se')
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        run.rewind(sizes)
        run.metrics.append({"step": 3})
        run.timings.append({"step": 3})
    read = {
        name: [json.loads(line)["step"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("metrics.jsonl", "samples.jsonl", "timings.jsonl")
    }
    assert read == {"metrics.jsonl": [1, 2, 3], "samples.jsonl": [1, 2], "timings.jsonl": [1, 2, 3, 3]}

    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        run.rewind({})  # no checkpoint: from the beginning
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_a_damaged_line_of_a_log_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    for second in (b'{"step": 2', b'{"step": \xff}', b"[2]", b""):
        path.write_bytes(b'{"step": 1}\n' + second + b'\n{"step": 3}\n')
        with pytest.raises(RunDirError, match=r"metrics\.jsonl, line 2: damaged .*good copy"):
            read_lines(path)
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]


def test_damage_to_a_log_is_found_whenever_it_happened(tmp_path):
    with RunDir.open(tmp_path, CONFIG) as run:
        run.metrics.append({"step": 1})
        first = run.log_sizes(), run.log_sums()
        assert first[1] == {
            "metrics.jsonl": hashlib.sha256(b'{"step": 1}\n').hexdigest(),
            "samples.jsonl": hashlib.sha256(b"").hexdigest(),
        }
        run.metrics.append({"step": 2})
        log = run.paths.metrics
        log.write_bytes(log.read_bytes().replace(b"2", b"3"))  # while the run goes on
        run.metrics.append({"step": 4})
        second = run.log_sizes(), run.log_sums()
    assert damaged_log(tmp_path, *first) is None
    assert "metrics.jsonl aren't what was written" in damaged_log(tmp_path, *second)
    log.write_bytes(log.read_bytes().replace(b"3", b"2"))
    assert damaged_log(tmp_path, *second) is None
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        run.rewind(first[0])
        assert run.log_sums() == first[1]
        run.metrics.append({"step": 2})
        run.metrics.append({"step": 4})
        assert (run.log_sizes(), run.log_sums()) == second
    log.write_bytes(b"")
    assert "(damaged, changed or lost)" in damaged_log(tmp_path, *first)
    log.unlink()
    assert "is gone" in damaged_log(tmp_path, *first)
    log.mkdir()
    with pytest.raises(RunDirError, match=r"Could not read .*metrics"):
        damaged_log(tmp_path, *first)


def test_a_log_that_lost_lines_is_warned_of_and_not_filled_with_zeros(tmp_path, caplog):
    begun(tmp_path)
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        run.rewind({"metrics.jsonl": 100})
    assert "has lost 88 bytes" in caplog.text
    assert (tmp_path / "metrics.jsonl").read_bytes() == b'{"step": 1}\n'


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path, monkeypatch):
    write = os.write
    begun(tmp_path)
    with RunDir.open(tmp_path, CONFIG, resume=True) as run:
        calls = []

        def nearly_full(descriptor, data):
            calls.append(len(data))
            if len(calls) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(descriptor, data[:5])

        with monkeypatch.context() as patched:
            patched.setattr(os, "write", nearly_full)
            with pytest.raises(RunDirError, match=r"metrics.jsonl: No space left.*--resume"):
                run.metrics.append({"step": 2})
        assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
        run.metrics.append({"step": 2})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_log_that_can_not_be_flushed_is_said(tmp_path, monkeypatch):
    begun(tmp_path)
    with RunDir.open(tmp_path, CONFIG, resume=True) as run, monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(RunDirError, match=r"metrics.jsonl: No space left.*--resume"):
            run.log_sizes()


def test_run_log_holds_what_the_package_says(tmp_path):
    package = logging.getLogger("gemma_align")
    before = (package.level, list(package.handlers))
    with RunDir.open(tmp_path, CONFIG) as run:
        logging.getLogger("gemma_align.data").info("read 3 rows")
        run.note("only here")
        run.metrics.append({"step": 1})
    text = (tmp_path / "run.log").read_text()
    assert "INFO read 3 rows" in text
    assert "INFO only here" in text
    assert (package.level, package.handlers) == before
    with RunDir.open(tmp_path, CONFIG, resume=True):
        pass
    text = (tmp_path / "run.log").read_text()
    assert text.index("begun:") < text.index("only here") < text.index("resumed:")


def test_the_environments_of_earlier_processes_are_kept(tmp_path, monkeypatch, caplog):
    begun(tmp_path)
    describe = run_dir_module.describe_environment
    monkeypatch.setattr(run_dir_module, "describe_environment", lambda: describe() | {"python": "3.99"})
    for _ in range(2):
        RunDir.open(tmp_path, CONFIG, resume=True).__exit__(None, None, None)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["python"] == "3.99"
    assert [e["python"] for e in environment["earlier"]] == [sys.version.split()[0], "3.99"]
    assert "goes on with 3.99" in caplog.text


# --- folders that are replaced whole ---


def test_a_folder_is_replaced_whole(tmp_path):
    with RunDir.open(tmp_path, CONFIG) as run:
        for value in ("one", "two"):
            run.write_folder(run.paths.adapter, lambda folder, value=value: (folder / "weights").write_text(value))
        with pytest.raises(RunDirError, match=r"Could not write .*adapter"):
            run.write_folder(run.paths.adapter, lambda folder: (folder / "missing" / "weights").write_text("x"))
        assert (run.paths.adapter / "weights").read_text() == "two"
        assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.parametrize("cut_at", ["rename 1", "rename 2", "before the end"])
def test_a_swap_that_was_cut_is_put_right_on_resume(tmp_path, cut_at):
    """As `write_folder` leaves the folders when the process is killed at that point."""
    begun(tmp_path)
    for name in ("adapter",) if cut_at == "rename 1" else (".tmp-old-adapter",):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("old")
    new = tmp_path / ("adapter" if cut_at == "before the end" else ".tmp-new-adapter")
    new.mkdir()
    (new / "weights").write_text("new")
    RunDir.open(tmp_path, CONFIG, resume=True).__exit__(None, None, None)
    assert (tmp_path / "adapter" / "weights").read_text() == ("new" if cut_at == "before the end" else "old")
    assert not list(tmp_path.glob(".tmp-*"))


def test_paths_can_be_read_without_a_run(tmp_path):
    paths = RunPaths(tmp_path / "none")
    assert paths.is_empty()
    assert not paths.is_run()
    assert not paths.has_results()
    assert paths.read_status() == {}
    assert not paths.root.exists()
