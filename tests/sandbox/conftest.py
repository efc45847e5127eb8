"""One sandbox for all tests that need no other: every layer, a processor second a program."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma_align.sandbox import Limits, Sandbox

SECRET = "hunter2-5c1f"
NOBODY = 65534


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    os.environ["SANDBOX_TEST_SECRET"] = SECRET
    with Sandbox(Limits(cpu_seconds=1, wall_seconds=2.0), num_workers=2) as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in which anybody may write, with a secret that anybody may read."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    (made / "secret").write_text(SECRET)
    if os.geteuid() == 0:
        os.chown(made / "secret", NOBODY, NOBODY)  # as whom the programs of root run
    (made / "secret").chmod(0o644)
    yield made
    shutil.rmtree(made)


class Listener:
    """A server of all kinds that counts who comes."""

    def __init__(self, folder: Path) -> None:
        self.unix, self.abstract = str(folder / "socket"), f"sandbox-test-{os.getpid()}"
        self.seen: list[str] = []
        tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        unix, abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        tcp.bind(("127.0.0.1", 0))
        udp.bind(("127.0.0.1", 0))
        unix.bind(self.unix)
        os.chmod(self.unix, 0o777)
        abstract.bind("\0" + self.abstract)
        self.tcp, self.udp = tcp.getsockname()[1], udp.getsockname()[1]
        self._sockets = {"tcp": tcp, "udp": udp, "unix": unix, "abstract": abstract}
        self._threads = [threading.Thread(target=self._watch, args=(name,)) for name in self._sockets]
        for name in ("tcp", "unix", "abstract"):
            self._sockets[name].listen()
        for thread in self._threads:
            thread.start()

    def _watch(self, name: str) -> None:
        sock = self._sockets[name]
        sock.settimeout(0.05)
        while not sock._closed:
            try:
                if name == "udp":
                    sock.recv(100)
                else:
                    sock.accept()[0].close()
                self.seen.append(name)
            except TimeoutError:
                continue
            except OSError:
                return

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def listener(folder: Path) -> Iterator[Listener]:
    made = Listener(folder)
    yield made
    made.close()
