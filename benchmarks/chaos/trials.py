"""One trial of each kind. A trial gives what was tried; each with a problem, which is "" where nothing was lost.

Nothing is lost where the run, given the same command again, ends in the bits of a run that was never disturbed, never
fell back behind a checkpoint that it had, and told what was wrong in a sentence and not in a traceback.
"""

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos import faults
from benchmarks.chaos.disk import SmallDisk, on_small_disk
from benchmarks.chaos.lives import Ended
from benchmarks.chaos.runs import Bench, Run
from gemma_align.trainers.checkpointing import load_checkpoint_state

TERM = 'reward.terms=[{{call: "benchmarks.chaos.terms:letters", timeout: {timeout}}}]'
PATIENT, IMPATIENT = TERM.format(timeout=60), TERM.format(timeout=2)
LARGE = 2**30  # bytes
TRIES = 20  # at asking a run to stop before it ends

AT_RANDOM = "kill -9 at a random moment"
AT_SAVE = "kill -9 while a checkpoint is saved, before a random call"
HALF_WRITTEN = "kill -9 when half of a checkpoint's tensors are written"
SAMPLING = "kill -9 while responses are sampled"
KILLS = (AT_RANDOM, AT_RANDOM, AT_SAVE, AT_SAVE, HALF_WRITTEN, SAMPLING)


@dataclass(frozen=True, slots=True)
class Tried:
    fault: str
    method: str
    problem: str


def killed(bench: Bench, method: str, num_kills: int) -> list[Tried]:
    """A run that is killed again and again, then let go on to its end."""
    run, kills, reached = Run(bench, method), list[str](), -1
    while True:
        kind = bench.chance.choice(KILLS) if len(kills) < num_kills else ""
        ended = _life(run, kind)
        if not ended.killed:
            return [Tried(kind, method, run.problem(ended)) for kind in kills]
        kills.append(kind)
        before, reached = reached, run.reached()
        if reached < before:
            return [Tried(kind, method, f"it fell back from update {before} to {reached}") for kind in kills]


def _life(run: Run, kind: str) -> Ended:
    """One that may end by a kill of this kind."""
    chance, plan = run.bench.chance, run.plan
    if kind == AT_RANDOM:
        life = run.life()
        ended = life.ended(chance.uniform(0.05, 0.7 * plan.seconds))
        if ended is None:
            life.send(signal.SIGKILL)
        return ended or life.end()
    puts = {
        "": None,
        AT_SAVE: faults.kill_at_save(chance.randint(1, 2), chance.randint(1, plan.calls)),
        HALF_WRITTEN: faults.kill_half_written(chance.randint(1, 2)),
        SAMPLING: faults.kill_while_sampling(chance.randint(1, max(plan.steps // 2, 1))),
    }
    return run.life(puts[kind]).end()


def asked_to_stop(bench: Bench, method: str, number: signal.Signals) -> list[Tried]:
    """A signal that asks for an end, at a random moment."""
    for _ in range(TRIES):
        run = Run(bench, method)
        life = run.life()
        ended = life.ended(bench.chance.uniform(0.05, 0.8 * run.plan.seconds))
        if ended is None:
            life.send(number)
            ended = life.end()
        if ended.status != 0:  # else it was done before it could be asked
            break
    problem = ""
    if ended.status not in (128 + number, -number) or "Traceback" in ended.said:  # minus: before the handlers
        problem = f"status {ended.status}: {ended.said[-1500:]}"
    elif ended.status == 128 + number and run.folder.exists():
        told = json.loads((run.folder / "status.json").read_text())
        problem = "" if told["state"] == "interrupted" else f"status.json says {told}"
    return [Tried(f"{number.name} at a random moment", method, problem or run.problem(run.life().end()))]


def bits_flipped(bench: Bench, method: str) -> list[Tried]:
    """One bit of the newest checkpoint, then one of every checkpoint."""
    run = Run(bench, method)
    stopped = run.life(faults.kill_at_save(3, 1)).end()
    assert stopped.killed, stopped.said
    good = sorted((run.folder / "checkpoints").iterdir())
    assert len(good) == 2, good
    flipped = [_flip(bench, bench.chance.choice(sorted(path.iterdir()))) for path in good]
    all_damaged = run.life().end()
    problem = "" if all_damaged.clear and "No checkpoint" in all_damaged.said else _unclear(all_damaged)
    path, content = flipped[0]
    path.write_bytes(content)  # put back as the message says
    ended = run.life().end()
    if "passed over the checkpoint" not in ended.said:
        problem = problem or f"nothing was said of the damage: {ended.said[-1500:]}"
    problem = problem or run.problem(ended)
    return [Tried("a bit flipped in the newest checkpoint, then in all", method, problem)]


def other_bits_flipped(bench: Bench, method: str) -> list[Tried]:
    """One bit of a log that the newest checkpoint counts on; then one of an evaluation that is kept for a resume."""
    run = Run(bench, method)
    assert run.life(faults.kill_at_save(3, 1)).end().killed
    first, second = sorted((run.folder / "checkpoints").iterdir())
    log = run.folder / "metrics.jsonl"
    sizes = [load_checkpoint_state(path).logs[log.name] for path in (first, second)]
    _flip(bench, log, *sizes)  # after the first one, so that there is a way back
    evaluating = run.life(faults.kill_before_evaluation_kept(2)).end()
    problem = "" if f"going on from {first.name}" in evaluating.said else _unclear(evaluating)
    problem = problem or ("" if evaluating.killed else _unclear(evaluating))
    (evaluated,) = (run.folder / "evaluated").iterdir()
    _flip(bench, evaluated)
    end = run.problem(run.life().end())
    evaluation = Tried("a bit flipped in an evaluation, of a run that goes on", method, end)
    return [Tried("a bit flipped in a log", method, problem or end), evaluation]


def _flip(bench: Bench, path: Path, start: int = 0, end: int | None = None) -> tuple[Path, bytes]:
    """Changes one bit of the bytes from `start` on. Returns the file, and what it held."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[bench.chance.randrange(start, len(changed) if end is None else end)] ^= 1 << bench.chance.randrange(8)
    path.write_bytes(changed)
    return path, content


def disk_full(bench: Bench, method: str) -> list[Tried]:
    """A file system that is too small for the run, and grows afterwards."""
    num_bytes = sum(len(content) for content in Run(bench, method).plan.files.values())
    folder = bench.work / f"disk-{bench.num_runs}"

    def on(disk: SmallDisk) -> str:
        size = bench.chance.randint(num_bytes // 8, 4 * num_bytes)
        run, first = Run(bench, method, parent=disk.folder), None
        while first is None or first.status == 0:  # it found room enough
            for left in disk.folder.iterdir():
                shutil.rmtree(left)
            disk.resize(size)
            first, size = run.life().end(), size // 2
        disk.resize(LARGE)
        return ("" if first.clear else _unclear(first)) or run.problem(run.life().end())

    return [Tried("a disk that is full, then isn't", method, on_small_disk(folder, LARGE, on))]


def write_fails(bench: Bench, method: str) -> list[Tried]:
    """No file may grow beyond a size; then another run's disk is full from some flush on."""
    plan = Run(bench, method).plan
    limits = {
        "no file may grow beyond a random size": (faults.largest_file, int(2 ** bench.chance.uniform(6, 18))),
        "the disk is full from a random flush on": (faults.full_at_flush, bench.chance.randint(1, 8 * plan.saves)),
    }
    found = []
    for name, (fault, number) in limits.items():
        first = None
        while first is None or first.status == 0:  # it never came so far
            run = Run(bench, method)
            first, number = run.life(fault(number)).end(), number // 2
        problem = "" if first.clear else _unclear(first)
        found.append(Tried(name, method, problem or run.problem(run.life().end())))
    return found


def term_broken(bench: Bench, method: str, what: str) -> list[Tried]:
    """The reward's own term fails once, on an answer that is sampled while the stage trains."""
    run = Run(bench, method, PATIENT)
    plan = run.plan
    first = run.life(faults.term(bench.chance.randint(1, 20), what), IMPATIENT).end()
    problem = "" if first.clear and "example 'builtin/" in first.said else _unclear(first)
    return [Tried(f"a reward term {what}", method, problem or run.problem(run.life().end(), plan.files))]


def sandbox_killed(bench: Bench, times: int) -> list[Tried]:
    """The process that grades a program is killed: another takes its place, but not for ever."""
    run = Run(bench, "grpo", "task=code")
    plan = run.plan
    first = run.life(faults.sandbox_killed(bench.chance.randint(3, 20), times)).end()
    problem = "" if first.status == 0 or first.clear else _unclear(first)
    if not problem and first.status != 0:
        first = run.life().end()
    how = "a sandbox worker killed" if times == 1 else f"{times} sandbox workers killed in a row"
    return [Tried(how, "grpo", problem or run.problem(first, plan.files))]


def gradient_spoiled(bench: Bench, method: str) -> list[Tried]:
    """An update with an infinite gradient is left out and counted, also in a run that is killed after it."""
    fault = faults.not_finite(2)
    whole, run = Run(bench, method), Run(bench, method)
    ended = whole.life(fault).end()
    skipped = [json.loads(line).get("optimizer/skipped", 0.0) for line in _lines(whole)]
    problem = "" if ended.status == 0 and max(skipped) >= 1 else f"not skipped: {ended.said[-1500:]}"
    if not problem:
        assert run.life(faults.both(fault, faults.kill_at_save(2, 1))).end().killed
        problem = run.problem(run.life(fault).end(), whole.files())
    return [Tried("an infinite gradient, and a kill after it", method, problem)]


def _lines(run: Run) -> list[str]:
    return (run.folder / "metrics.jsonl").read_text().splitlines()


def _unclear(ended: Ended) -> str:
    return f"no clear error, status {ended.status}: {ended.said[-1500:]}"
