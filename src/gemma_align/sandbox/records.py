"""What goes into the sandbox, and what comes out."""

from dataclasses import dataclass

from gemma_align.errors import UserError

LAYERS = ("seccomp", "landlock", "rlimits")  # those that can be left out


class SandboxUnavailable(UserError):
    """Programs can't be confined here; says what is missing."""


@dataclass(frozen=True, slots=True)
class Program:
    """One generated program and how it is judged.

    code         Python text that somebody wrote whom nobody trusts
    tests        Python texts, each run by itself with the program's names; one that ends without an exception passes
    entry_point  the name that tests call; names that a test reads and nobody defines are the program's too
    setup        trusted Python text that runs after the program, and again before each test
    parse_only   nothing is run, tests fail
    """

    id: str
    code: str
    tests: tuple[str, ...] = ()
    entry_point: str = ""
    setup: str = ""
    parse_only: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one program.

    cpu_seconds   processor time that the program may use, all tests together, in whole seconds
    wall_seconds  after which it is ended in any case; several times cpu_seconds, for a busy machine
    memory_bytes  address space
    """

    cpu_seconds: int = 5
    wall_seconds: float = 0.0  # 0: four times cpu_seconds
    memory_bytes: int = 2**30

    def __post_init__(self) -> None:
        if self.cpu_seconds < 1 or self.cpu_seconds != int(self.cpu_seconds):
            raise UserError(f"cpu_seconds: a whole number of at least 1 was wanted, given {self.cpu_seconds}")
        if self.wall_seconds == 0.0:
            object.__setattr__(self, "wall_seconds", 4.0 * self.cpu_seconds)
        if self.wall_seconds < self.cpu_seconds:
            raise UserError(f"wall_seconds: at least cpu_seconds ({self.cpu_seconds}) was wanted: {self.wall_seconds}")
        if self.memory_bytes < 2**27:
            raise UserError(f"memory_bytes: at least 128 MiB were wanted, given {self.memory_bytes}")


@dataclass(frozen=True, slots=True)
class Grade:
    """What became of one program.

    parsed       it is Python; found before any of it ran
    ran          it came to the end of its top level within the limits; its process says so: reward tests, not this
    passed       by test: True, False, or None where the test itself can't be judged in the sandbox
    reasons      by test: why it didn't pass or can't be judged; "" where it passed
    timeout      it was ended because its time was up
    error        what stopped it before the tests, if anything
    seconds      from start to verdict
    cpu_seconds  of the program's process
    layers       that confined it
    """

    id: str
    parsed: bool
    ran: bool
    passed: tuple[bool | None, ...]
    reasons: tuple[str, ...]
    timeout: bool
    error: str
    seconds: float
    cpu_seconds: float
    layers: tuple[str, ...]

    @property
    def all_passed(self) -> bool:
        """Every test, and there is one."""
        return bool(self.passed) and all(self.passed)

    @property
    def unsupported(self) -> str:
        """Why the program can't be judged in full: the reason of the first test that can't; "" where all can."""
        return next((why for passed, why in zip(self.passed, self.reasons, strict=True) if passed is None), "")
