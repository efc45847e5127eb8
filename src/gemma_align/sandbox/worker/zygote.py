"""A warm, single-threaded process that forks two confined children a program: one runs it, one judges it.

It is started with an empty environment and never sees a program or a test: the job comes over a descriptor that it
only hands on. It measures and kills, and says how the children ended.

Its line to the owner, a socket that keeps messages apart, brings first the settings, then for every job the limits with
the job's descriptor; each is answered by one message.
"""

import array
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

from . import candidate, confine, judge, landlock

# After it is confined no process can load a module: what programs may import is here.
PRELOADED = (
    "abc argparse array ast asyncio base64 binascii bisect builtins calendar cmath codecs collections collections.abc "
    "concurrent.futures contextlib contextvars copy csv dataclasses datetime decimal difflib dis email.utils enum errno "
    "fractions functools gc getpass glob graphlib gzip hashlib heapq hmac html html.parser inspect io ipaddress "
    "itertools json keyword linecache locale logging math multiprocessing numbers operator os pathlib pickle platform "
    "pprint queue random re reprlib secrets select shlex shutil signal socket statistics string struct subprocess sys "
    "tempfile textwrap threading time timeit token tokenize traceback types typing unicodedata unittest "
    "unittest.mock urllib.parse uuid warnings weakref xml.etree.ElementTree zlib zoneinfo _strptime "
    "encodings.ascii encodings.latin_1 encodings.utf_16 encodings.utf_32 encodings.cp1252 encodings.idna "
    "encodings.rot_13 encodings.hex_codec encodings.base64_codec encodings.unicode_escape encodings.raw_unicode_escape"
).split()
JUDGE_CPU = 3  # times the program's limit
LAST_WORDS = 10.0  # seconds the judge has for its verdict after the program's time is up


def main(fd: int) -> NoReturn:
    """Serves until the owner goes."""
    for name in PRELOADED:
        __import__(name)
    control = socket.socket(fileno=fd)
    settings = json.loads(control.recv(2**20))
    off = frozenset(settings["off"])
    seccomp = bytes.fromhex(settings["seccomp"])
    unprivileged = confine.calm_process()
    _quiet()
    sys.path[:] = []
    sys.path_importer_cache.clear()
    sys.argv[:] = [""]
    gc.collect()
    gc.freeze()
    layers = [
        "seccomp" if "seccomp" not in off else "",
        f"landlock {landlock.version()}" if landlock.version() and "landlock" not in off else "",
        "rlimits" if "rlimits" not in off else "",
        "no-new-privs",
        "unprivileged" if unprivileged else "",
    ]
    _say(control, {"layers": [layer for layer in layers if layer], "python": sys.version.split()[0]})
    while True:
        limits, job = _next(control)
        _say(control, _run(control, job, limits, seccomp, off))


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


def _run(
    control: socket.socket, report: int, limits: dict[str, Any], seccomp: bytes, off: frozenset[str]
) -> dict[str, Any]:
    near, far = socket.socketpair()
    me = os.getpid()
    cpu, memory, wall = limits["cpu_seconds"], limits["memory_bytes"], limits["wall_seconds"]

    def program() -> None:
        confine.confine((far.fileno(),), me, cpu, memory, seccomp, off)
        random.seed(0)
        candidate.serve(far.fileno())

    def tests() -> None:
        confine.confine((near.fileno(), report), me, JUDGE_CPU * cpu, memory, seccomp, off)
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
    spent = program_end["signal"] in (signal.SIGXCPU, signal.SIGKILL) and program_end["cpu_seconds"] >= cpu
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
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
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
