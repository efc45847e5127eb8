import errno
import io
import json
import os
import pty
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import accelerate.tracking
import pytest
from accelerate.tracking import GeneralTracker
from tensorboard.summary.writer.record_writer import RecordWriter

from gemma_align.errors import UserError
from gemma_align.experiments.run_dir import RunDir
from gemma_align.trainers.diagnostics import Diagnostics, PhaseTimes, check_trackers
from gemma_align.trainers.progress import LiveProgress, PlainProgress, choose_progress, duration

CONFIG = "task: clinical\ntraining:\n  batch_size: 8\n"


class Recorder(GeneralTracker):
    """A tracker that a user registered, which may fail."""

    name = "recorder"
    requires_logging_directory = False
    made: list["Recorder"] = []  # noqa: RUF012
    fails_at = ""

    def __init__(self, project: str, **options) -> None:
        super().__init__()
        self.project, self.options, self.logged, self.settings, self.ended = project, options, [], {}, False
        self.made.append(self)

    def start(self) -> None:
        if self.fails_at == "start":
            raise RuntimeError("not logged in")

    @property
    def tracker(self):
        return self

    def store_init_configuration(self, values: dict) -> None:
        self.settings = values

    def log(self, values: dict, step=None, **_) -> None:
        if self.fails_at == "log":
            raise ConnectionError("the network is down")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.ended = True
        if self.fails_at == "finish":
            raise ConnectionError("the network is down")


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "recorder", Recorder)
    monkeypatch.setattr(Recorder, "made", [])
    return Recorder


def quiet() -> PlainProgress:
    return PlainProgress(lambda text: None)


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def train(diagnostics: Diagnostics, first: int, last: int, total: int = 10) -> None:
    """Updates `first` to `last` of a stage, with an evaluation after every fourth."""
    with diagnostics.stage("sft", total, done=first - 1):
        for step in range(first, last + 1):
            with diagnostics.timer("prepare"):
                time.sleep(0.001)
            with diagnostics.timer("update"):
                time.sleep(0.002)
            diagnostics.update(step, {"loss/sft": 1 / step, "optimizer/learning_rate": 0.1 * step}, num_tokens=100)
            if step % 4 == 0:
                with diagnostics.timer("eval"):
                    time.sleep(0.05)
                diagnostics.log(step, {"eval/loss": 2 / step})


def test_metrics_and_times_go_to_files_of_their_own(tmp_path):
    with RunDir.open(tmp_path, CONFIG) as run, Diagnostics(run, trackers=(), progress=quiet()) as diagnostics:
        train(diagnostics, 1, 8)
    metrics = lines(tmp_path / "metrics.jsonl")
    assert metrics[0] == {
        "step": 1,
        "stage": "sft",
        "tokens": 100,
        "loss/sft": 1.0,
        "optimizer/learning_rate": 0.1,
    }
    assert metrics[4] == {"step": 4, "stage": "sft", "eval/loss": 0.5}
    assert len(metrics) == 10

    times = lines(tmp_path / "timings.jsonl")
    assert [record["step"] for record in times] == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    first, fifth, last = times[0], times[4], times[-1]
    assert set(first["seconds"]) == {"prepare", "update", "total"}
    assert first["seconds"]["prepare"] >= 0.001
    assert first["seconds"]["update"] >= 0.002
    assert first["seconds"]["prepare"] + first["seconds"]["update"] <= first["seconds"]["total"]
    training = fifth["seconds"]["total"] - fifth["seconds"]["eval"]
    assert fifth["seconds"]["eval"] >= 0.05
    assert fifth["tokens_per_second"] == pytest.approx(100 / training, rel=1e-3), "an evaluation slows no training"
    assert set(last["seconds"]) == {"eval", "total"}
    assert 0.05 < first["peak_rss_gb"] < 100


def test_a_resumed_run_logs_the_same_bytes_as_an_unbroken_one(tmp_path):
    unbroken, stopped = tmp_path / "unbroken", tmp_path / "stopped"
    with RunDir.open(unbroken, CONFIG) as run, Diagnostics(run, trackers=(), progress=quiet()) as diagnostics:
        train(diagnostics, 1, 10)
    with RunDir.open(stopped, CONFIG) as run, Diagnostics(run, trackers=(), progress=quiet()) as diagnostics:
        train(diagnostics, 1, 5)
        sizes = run.log_sizes()
        train(diagnostics, 6, 8)
    with RunDir.open(stopped, CONFIG, resume=True) as run:
        run.rewind(sizes)
        with Diagnostics(run, trackers=(), progress=quiet(), resumed_at=5) as diagnostics:
            train(diagnostics, 6, 10)
    assert (stopped / "metrics.jsonl").read_bytes() == (unbroken / "metrics.jsonl").read_bytes()
    assert [r["step"] for r in lines(stopped / "timings.jsonl") if "tokens_per_second" in r] == [
        *range(1, 9),
        *range(6, 11),
    ]


def events(folder: Path, tag: str) -> list[tuple[int, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's own imports
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    found = EventAccumulator(str(folder))
    found.Reload()
    return [(event.step, round(event.value, 4)) for event in found.Scalars(tag)]


def test_tensorboard_goes_on_without_showing_a_step_twice(tmp_path):
    with RunDir.open(tmp_path, CONFIG) as run, Diagnostics(run, progress=quiet()) as diagnostics:
        train(diagnostics, 1, 8)
    assert events(tmp_path / "tensorboard", "loss/sft") == [(s, round(1 / s, 4)) for s in range(1, 9)]
    time.sleep(1.1)  # event files are ordered by the second they were begun in
    with (
        RunDir.open(tmp_path, CONFIG, resume=True) as run,
        Diagnostics(run, progress=quiet(), resumed_at=5) as diagnostics,
    ):
        train(diagnostics, 6, 10)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert events(tmp_path / "tensorboard", "loss/sft") == [(s, round(1 / s, 4)) for s in range(1, 11)]
    assert events(tmp_path / "tensorboard", "eval/loss") == [(4, 0.5), (8, 0.25)]


def test_other_trackers_by_name(tmp_path, recorder):
    with (
        RunDir.open(tmp_path, CONFIG) as run,
        Diagnostics(
            run,
            trackers=["recorder", "recorder"],
            project="mine",
            tracker_options={"recorder": {"tags": ["a"]}},
            progress=quiet(),
        ) as diagnostics,
    ):
        train(diagnostics, 1, 1)
    (tracker,) = recorder.made
    assert (tracker.project, tracker.options) == ("mine", {"tags": ["a"]})
    assert tracker.settings == {"task": "clinical", "training.batch_size": 8}
    assert tracker.logged == [(1, {"loss/sft": 1.0, "optimizer/learning_rate": 0.1, "tokens": 100})]
    assert tracker.ended


def test_unknown_and_missing_trackers_are_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("gemma_align.trainers.trackers.get_available_trackers", lambda: ["tensorboard"])
    check_trackers(["tensorboard"])
    check_trackers([])
    with pytest.raises(UserError) as caught:
        check_trackers(["tensorbord", "wandb"])
    assert "no tracker 'tensorbord'. Did you mean 'tensorboard'?" in str(caught.value)
    assert "'wandb' isn't installed" in str(caught.value)
    with pytest.raises(UserError), RunDir.open(tmp_path / "a", CONFIG) as run:
        Diagnostics(run, trackers=["wandb"], progress=quiet())
    assert not (tmp_path / "a").exists()


def test_a_tracker_that_can_not_start_is_the_users_to_mend(tmp_path, recorder, monkeypatch):
    monkeypatch.setattr(recorder, "fails_at", "start")
    with (
        RunDir.open(tmp_path, CONFIG) as run,
        pytest.raises(UserError, match=r"'recorder' could not start .not logged"),
    ):
        Diagnostics(run, trackers=["recorder"], progress=quiet())


def test_a_tracker_interrupted_while_it_starts_leaves_the_threads_hook_alone(tmp_path, recorder, monkeypatch):
    def stopped(self):
        raise KeyboardInterrupt

    before = threading.excepthook
    monkeypatch.setattr(recorder, "start", stopped)
    with RunDir.open(tmp_path, CONFIG) as run, pytest.raises(KeyboardInterrupt):
        Diagnostics(run, trackers=["recorder"], progress=quiet())
    assert threading.excepthook is before


@pytest.mark.parametrize("where", ["log", "finish"])
def test_a_tracker_that_fails_later_ends_no_run(tmp_path, recorder, monkeypatch, caplog, where):
    monkeypatch.setattr(recorder, "fails_at", where)
    with (
        RunDir.open(tmp_path, CONFIG) as run,
        Diagnostics(run, trackers=["recorder"], progress=quiet()) as diagnostics,
    ):
        train(diagnostics, 1, 3)
    assert len(lines(tmp_path / "metrics.jsonl")) == 3
    assert caplog.text.count("network is down") == 1


def test_a_disk_that_fills_up_under_tensorboard_gives_a_sentence_and_no_traceback(tmp_path, monkeypatch, caplog):
    writes = []

    def write(self, data):
        writes.append(data)
        if len(writes) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    seen = []
    monkeypatch.setattr(RecordWriter, "write", write)
    monkeypatch.setattr(threading, "excepthook", lambda ended: seen.append(str(ended.exc_value)))
    before = threading.excepthook
    with (
        RunDir.open(tmp_path, CONFIG) as run,
        Diagnostics(run, trackers=["tensorboard"], progress=quiet()) as diagnostics,
    ):
        train(diagnostics, 1, 5)
        other = threading.Thread(target=lambda: 1 / 0)  # whose traceback is nobody else's to tell
        other.start()
        other.join()
    assert lines(tmp_path / "metrics.jsonl")[-1]["step"] == 5
    assert len(writes) == 4
    assert "tensorboard" in caplog.text
    assert "No space left" in caplog.text
    assert seen == ["division by zero"]
    assert threading.excepthook is before


def test_a_metric_can_not_take_the_place_of_the_step(tmp_path):
    with (
        RunDir.open(tmp_path, CONFIG) as run,
        Diagnostics(run, trackers=(), progress=quiet()) as diagnostics,
        pytest.raises(ValueError, match="can't be called"),
    ):
        diagnostics.log(1, {"step": 2.0})


def test_other_processes_measure_and_tell_nothing(capsys):
    with Diagnostics(None, trackers=["nobody"]) as diagnostics:
        train(diagnostics, 1, 4)
        with diagnostics.bar("evaluate", 3) as advance:
            advance(3)
        diagnostics.say("hello")
    assert capsys.readouterr().out == ""


def test_phases_do_not_count_twice():
    times = PhaseTimes()
    with times("outer"):
        time.sleep(0.01)
        with times("inner"):
            time.sleep(0.03)
        with times("inner"):
            time.sleep(0.03)
    with pytest.raises(ZeroDivisionError), times("outer"):
        1 / 0  # noqa: B018
    taken = times.take()
    assert taken["inner"] >= 0.06
    assert 0.01 <= taken["outer"] < taken["inner"]
    assert taken["outer"] + taken["inner"] <= taken["total"]
    assert list(times.take()) == ["total"]


def test_plain_output_is_lines_without_control_characters(tmp_path):
    out = io.StringIO()
    progress = choose_progress(out, every_seconds=0.0)
    with RunDir.open(tmp_path, CONFIG) as run, Diagnostics(run, trackers=(), progress=progress) as diagnostics:
        diagnostics.say("begin [red]now[/red]")
        train(diagnostics, 1, 10)
        with diagnostics.bar("evaluate", 4) as advance:
            for _ in range(4):
                advance(1)
    text = out.getvalue()
    assert all(character.isprintable() or character == "\n" for character in text)
    shown = text.splitlines()
    assert shown[0] == "begin [red]now[/red]"
    assert shown[1].startswith("sft  1/10   10%  loss 1.0000  lr 1.0e-01  ")
    assert "tokens/s  peak " in shown[1]
    assert " GB  left 0:0" in shown[1]
    assert shown[10].startswith("sft  10/10  100%  loss 0.1000  lr 1.0e+00")
    assert "left" not in shown[10]
    assert shown[-1] == "evaluate  4/4  100%"
    assert len(shown) == 1 + 10 + 4
    log = (tmp_path / "run.log").read_text()
    assert "begin [red]now[/red]" in log
    assert "sft  10/10  100%  loss 0.1000" in log


def test_plain_lines_come_every_few_seconds_and_at_the_end():
    told: list[str] = []
    bar = PlainProgress(told.append, every_seconds=60).bar("sft", 100)
    for done in range(1, 51):
        bar.show(done)
    assert told == ["sft  1/100    1%  left " + told[0].split()[-1]]
    bar.close()
    bar.close()
    assert [line.split("  ")[1] for line in told] == ["1/100", "50/100"]


def test_a_resumed_bar_tells_the_time_left_from_its_own_pace(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("gemma_align.trainers.progress.time.monotonic", lambda: now[0])
    told: list[str] = []
    bar = PlainProgress(told.append, every_seconds=0).bar("sft", 1000, done=900)
    bar.show(900)
    now[0] = 20.0
    bar.show(910)
    assert told == ["sft  900/1000   90%", "sft  910/1000   91%  left 3:00"]


def test_a_closed_pipe_and_a_narrow_encoding_end_no_run():
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    choose_progress(Broken()).say("lost")
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    choose_progress(narrow).say("naïve")
    assert narrow.buffer.getvalue() == b"na?ve\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (59.6, "1:00"), (723, "12:03"), (3723, "1:02:03")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


LIVE = """
import time
from gemma_align.trainers.diagnostics import Diagnostics
from gemma_align.experiments.run_dir import RunDir
import sys
with RunDir.open(sys.argv[1], "a: 1") as run, Diagnostics(run, trackers=()) as diagnostics:
    with diagnostics.stage("sft [b]", 3):
        for step in (1, 2, 3):
            diagnostics.update(step, {"loss/sft": 0.25}, 10)
            with diagnostics.bar("evaluate", 2) as advance:
                advance(2)
            diagnostics.say("said [red]so[/red]")
"""


def output_of(path: Path, terminal: bool, **environment: str) -> str:
    """What the program above prints to a terminal, or into a pipe."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "120"} | environment
    process = subprocess.Popen([sys.executable, "-c", LIVE, str(path)], env=variables, stdout=writing)
    os.close(writing)
    text = b""
    try:
        while part := os.read(reading, 4096):
            text += part
    except OSError:  # how a terminal says that it was closed
        pass
    os.close(reading)
    assert process.wait() == 0
    return text.decode()


def test_a_terminal_gets_a_live_bar(tmp_path):
    text = output_of(tmp_path, terminal=True, TERM="xterm-256color")
    assert "\x1b[" in text
    assert "sft [b]" in text
    assert "3/3" in text
    assert "loss 0.2500" in text
    assert "said [red]so[/red]" in text
    assert text.endswith(("\x1b[?25h", "\n")), "the cursor is shown again"


@pytest.mark.parametrize("variables", [{"TERM": "xterm-256color", "FORCE_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_pipe_or_a_dumb_terminal_gets_plain_lines(tmp_path, variables):
    text = output_of(tmp_path, terminal=variables["TERM"] == "dumb", **variables)
    assert "\x1b" not in text
    assert "sft [b]  3/3  100%  loss 0.2500" in text


LARGE_PROGRAM = """
import subprocess, sys
from gemma_align.trainers.memory import peak_rss_gb
before = peak_rss_gb()
block = bytearray(300_000_000)
block[::4096] = b"x" * len(block[::4096])
small = "from gemma_align.trainers.memory import peak_rss_gb; print(peak_rss_gb())"
child = subprocess.run([sys.executable, "-c", small], capture_output=True, text=True, check=True)
print(before, peak_rss_gb(), child.stdout)
"""


def test_peak_memory_is_this_programs_own():
    """A program started by a large one must not report the large one's memory."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run(
        [sys.executable, "-c", LARGE_PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    before, large, small = map(float, shown.stdout.split())
    assert large > before + 0.25
    assert 0.001 < small < 0.2


def test_live_bars_can_be_used_one_after_the_other():
    progress = LiveProgress(io.StringIO())
    for _ in range(2):
        outer, inner = progress.bar("outer", 2), progress.bar("inner", 0)
        inner.show(0)
        inner.close()
        outer.show(2, "done")
        outer.close()
    assert progress._rich is None
