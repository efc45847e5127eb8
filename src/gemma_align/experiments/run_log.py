"""run.log: what the package's loggers say, with times."""

import logging
from pathlib import Path


class RunLog:
    """Writes the package's log records to a file while it's attached. A full disk silences it, nothing more."""

    def __init__(self, path: Path) -> None:
        self._handler = _Handler(path, encoding="utf-8", delay=True)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._package = logging.getLogger("gemma_align")
        self._level: int | None = None

    def attach(self) -> None:
        """Begin to write records of level INFO and above."""
        self._level = self._package.level
        if self._package.getEffectiveLevel() > logging.INFO:
            self._package.setLevel(logging.INFO)
        self._package.addHandler(self._handler)

    def detach(self) -> None:
        """Stop, and close the file."""
        if self._level is not None:
            self._package.removeHandler(self._handler)
            self._package.setLevel(self._level)
            self._level = None
        self._handler.close()

    def write(self, text: str, error: BaseException | None = None) -> None:
        """A line for the file alone, with the traceback of `error`."""
        level = logging.ERROR if error else logging.INFO
        trace = (type(error), error, error.__traceback__) if error else None
        self._handler.handle(logging.LogRecord("gemma_align", level, __file__, 0, text, None, trace))


class _Handler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing: the default prints a traceback for every line."""
