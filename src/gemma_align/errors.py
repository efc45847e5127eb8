"""Errors that are the user's to mend. The command line prints them without a traceback and exits with status 2.

UserError
├── ConfigError       a configuration that can't be run; lists every problem at once
├── DataError         a data file or row that can't be used
├── CheckpointError   weights, an adapter or a training checkpoint that can't be had or trusted
├── RunDirError       a run folder that is in use or holds another run
├── RewardError       a part of the reward that can't be computed for an example
├── JudgeError        a judge that can't be reached or doesn't answer; its answers so far are kept
└── SandboxUnavailable  generated programs can't be confined here (gemma_align.sandbox)

Interrupted stands apart: nothing is wrong, somebody asked the program to stop. Its status is the shell's, 130 or 143.
"""


class UserError(ValueError):
    """What was wanted, what was given, what to do."""


class ConfigError(UserError):
    """A configuration that can't be run."""


class DataError(UserError):
    """A data file or row that can't be used."""


class CheckpointError(UserError):
    """Weights, an adapter or a training checkpoint that can't be had or trusted."""


class RunDirError(UserError):
    """A run folder that is in use or holds another run."""


class RewardError(UserError):
    """A part of the reward that can't be computed for an example; nothing is scored silently as 0."""


class JudgeError(UserError):
    """A judge that can't be reached or doesn't answer; its answers so far are kept."""


class Interrupted(BaseException):
    """Somebody asked for an end (Ctrl-C, SIGTERM). Not an `Exception`: nothing that mends faults is to swallow it."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
