"""The owner's side of one zygote: start it, hand it jobs, end it."""

import array
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from gemma_align.sandbox.records import Grade, Limits, Program, SandboxUnavailable
from gemma_align.sandbox.worker import codec

START_SECONDS = 60.0  # for a busy machine; it takes a quarter of one
MARGIN = 60.0  # seconds over all limits after which a zygote is taken for stuck
_START = "import sys; sys.path.insert(0, sys.argv[1]); from worker.zygote import main; main(int(sys.argv[2]))"


class ZygoteDied(Exception):
    """It ended, or is stuck, or has no process to give."""


class Zygote:
    """One warm process. Not for several threads at once, but for `close`."""

    def __init__(self, seccomp: bytes, off: frozenset[str]) -> None:
        """Starts it.

        Raises:
            SandboxUnavailable: it doesn't come up.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = _started(theirs.fileno())
        except OSError as error:
            ours.close()
            raise SandboxUnavailable(f"its process doesn't start: {error}") from error
        self._control = ours
        self._closing = threading.Lock()
        ours.settimeout(START_SECONDS)
        try:
            ours.sendall(json.dumps({"off": sorted(off), "seccomp": seccomp.hex()}).encode())
            hello = json.loads(ours.recv(2**16) or b"null")
        except OSError:
            hello = None
        if hello is None:
            self._kill()
            assert self._process.stderr is not None
            said = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            self.close()
            raise SandboxUnavailable(f"its process doesn't start: {said[-1] if said else 'no answer'}")
        assert self._process.stderr is not None
        self._process.stderr.close()
        self.layers: tuple[str, ...] = tuple(hello["layers"])

    @property
    def pid(self) -> int:
        """Of the process; also its session and process group."""
        return self._process.pid

    def grade(self, program: Program, limits: Limits) -> Grade | None:
        """The grade; None where the judge ended without a verdict and without a reason for that.

        Raises:
            ZygoteDied: nothing is known of the program; another zygote may do it.
            SandboxUnavailable: the kernel refuses to confine.
        """
        verdict = outcome = None
        ours, theirs = socket.socketpair()
        with ours:
            patience = 2 * limits.wall_seconds + MARGIN
            self._control.settimeout(patience)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                ours.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(patience), 0))
            asked = {
                "cpu_seconds": limits.cpu_seconds,
                "wall_seconds": limits.wall_seconds,
                "memory_bytes": limits.memory_bytes,
            }
            job = {
                "code": program.code,
                "setup": program.setup,
                "tests": list(program.tests),
                "entry_point": program.entry_point,
                "parse_only": program.parse_only,
            }
            try:
                with theirs:
                    rights = array.array("i", [theirs.fileno()])
                    self._control.sendmsg(
                        [json.dumps(asked).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                    )
                with contextlib.suppress(EOFError, OSError, codec.Malformed):
                    codec.send(ours.fileno(), job)
                    verdict = codec.receive(ours.fileno())
                ours.shutdown(socket.SHUT_RDWR)
                outcome = json.loads(self._control.recv(2**16) or b"null")
            except OSError as error:
                raise ZygoteDied(str(error)) from error
        if outcome is None or "failed" in outcome:
            raise ZygoteDied(outcome["failed"] if outcome else "it ended")
        if verdict is not None and "unconfined" in verdict:
            raise SandboxUnavailable(f"the kernel refuses to confine a process: {verdict['unconfined']}")
        return self._grade(program, verdict, outcome)

    def _grade(self, program: Program, verdict: Any, outcome: dict[str, Any]) -> Grade | None:
        if verdict is None:
            if not outcome["timeout"]:
                return None
            verdict = {"parsed": True, "ran": True, "error": "", "passed": [], "reasons": []}
        why = "out of time" if outcome["timeout"] else ""
        told = zip(verdict["passed"], verdict["reasons"], strict=True)
        missing = len(program.tests) - len(verdict["passed"])
        return Grade(
            id=program.id,
            parsed=verdict["parsed"],
            ran=verdict["ran"],
            passed=(*verdict["passed"], *[False] * missing),
            reasons=(*(_reason(p, r, why) for p, r in told), *[why] * missing),
            timeout=outcome["timeout"],
            error=why if why and not verdict["ran"] else verdict["error"],
            seconds=outcome["seconds"],
            cpu_seconds=outcome["cpu_seconds"],
            layers=self.layers,
        )

    def close(self) -> None:
        """Ends it and its children. Safe to call from another thread and again."""
        with self._closing:
            self._kill()
            self._control.close()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process.wait()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _started(fd: int) -> subprocess.Popen[bytes]:
    """No environment, none of our descriptors but one, no terminal. -I would ignore PYTHONHASHSEED."""
    return subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-c", _START, str(Path(__file__).parent), str(fd)],
        env={"PYTHONHASHSEED": "0"},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=(fd,),
        start_new_session=True,
    )


def _reason(passed: bool | None, reason: str, late: str) -> str:
    return late if late and passed is False and reason == "its process ended" else reason
