"""A warm, single-threaded process that forks two confined children a program: one runs it, one judges it.

It is started with an empty environment and never sees a program or a test: the job comes over a descriptor that it
only hands on. It measures and kills, and says how the children ended.

Its line to the owner, a socket that keeps messages apart, brings first the settings, then for every job the limits with
the job's descriptor; each is answered by one message.
"""

import array
import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

from . import candidate, codec, confine, judge, library

JUDGE_CPU = 3  # times the program's limit
LAST_WORDS = 10.0  # seconds the judge has for its verdict after the program's time is up


def main(fd: int) -> NoReturn:
    """Serves until the owner goes."""
    library.install()
    control = socket.socket(fileno=fd)
    settings = json.loads(control.recv(2**20))
    unprivileged = confine.calm_process()
    cage = confine.Cage(bytes.fromhex(settings["seccomp"]), frozenset(settings["off"]))
    _quiet()
    sys.argv[:] = [""]
    gc.collect()
    confine.trim()
    gc.freeze()
    layers = [*cage.layers, "no-new-privs", *(["unprivileged"] if unprivileged else [])]
    _say(control, {"layers": layers})
    while True:
        limits, job = _next(control)
        _say(control, _run(control, job, limits, cage))


def _quiet() -> None:
    """0, 1 and 2 lead to the null device: nothing of what a program prints is kept."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _say(control: socket.socket, message: Any) -> None:
    try:
        control.sendall(json.dumps(message).encode())
    except OSError:  # the owner has gone
        os._exit(0)


def _next(control: socket.socket) -> tuple[dict[str, Any], int]:
    data, ancillary, _, _ = control.recvmsg(4096, socket.CMSG_SPACE(4))
    if not data:
        os._exit(0)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return json.loads(data), fds[0]


def _run(control: socket.socket, report: int, limits: dict[str, Any], cage: confine.Cage) -> dict[str, Any]:
    near, far = socket.socketpair()
    me = os.getpid()
    cpu, memory, wall = limits["cpu_seconds"], limits["memory_bytes"], limits["wall_seconds"]

    def program() -> None:
        cage.confine((far.fileno(),), me, cpu, memory)
        random.seed(0)
        candidate.serve(far.fileno())

    def tests() -> None:
        try:
            cage.confine((near.fileno(), report), me, JUDGE_CPU * cpu, memory)
        except OSError as error:  # the program's process ends for the same reason
            codec.send(report, {"unconfined": str(error)})
            return
        random.seed(0)
        judge.judge(near.fileno(), report)

    started = time.monotonic()
    pids: list[int] = []
    try:
        pids.append(_fork(program))
        pids.append(_fork(tests))
    except OSError as error:  # no process to be had: the owner decides what to do
        for pid in pids:
            _end(pid)
        return {"failed": str(error)}
    finally:
        near.close()
        far.close()
        os.close(report)
    watched = os.pidfd_open(pids[1])
    try:
        late = not _ended(control, watched, started + wall)
        if late:
            os.kill(pids[0], signal.SIGKILL)  # the judge sees that, and can still say how the tests before went
            _ended(control, watched, started + wall + LAST_WORDS)
    finally:
        os.close(watched)
    program_end, judge_end = (_end(pid) for pid in pids)
    killed, used = program_end["signal"], program_end["cpu_seconds"]
    spent = killed == signal.SIGXCPU or (killed == signal.SIGKILL and used >= cpu)  # the latter: it ignored the former
    return {
        "timeout": late or spent or judge_end["signal"] == signal.SIGXCPU,
        "seconds": time.monotonic() - started,
        "cpu_seconds": program_end["cpu_seconds"],
        "program_signal": program_end["signal"],
        "judge_signal": judge_end["signal"],
    }


def _fork(child: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        child()
        os._exit(0)
    except BaseException:
        os._exit(1)


def _end(pid: int) -> dict[str, Any]:
    """Kills a child that may have ended by itself, and says how it ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "cpu_seconds": used.ru_utime + used.ru_stime,
    }


def _ended(control: socket.socket, process: int, deadline: float) -> bool:
    """Whether the process ended before the deadline. Where the owner goes meanwhile, nobody is left."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(control.fileno(), select.POLLHUP)
    while (left := deadline - time.monotonic()) > 0:
        ready = {fd for fd, _ in poll.poll(left * 1000 + 1)}
        if control.fileno() in ready:
            os.killpg(0, signal.SIGKILL)
        if process in ready:
            return True
    return False
