"""TensorBoard and other trackers, through accelerate. A tracker that fails later never stops a run."""

import difflib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, TensorBoardTracker, get_available_trackers

from gemma_align.errors import UserError
from gemma_align.experiments.config_diff import flat_settings
from gemma_align.experiments.run_paths import RunPaths

log = logging.getLogger(__name__)


def check_trackers(names: Sequence[str]) -> None:
    """UserError, listing every problem, if a tracker is unknown or isn't installed. Call it before any work."""
    built_in = set(LOGGER_TYPE_TO_CLASS) - _registered()
    installed = {str(name) for name in get_available_trackers()}
    problems = []
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            near = difflib.get_close_matches(name, LOGGER_TYPE_TO_CLASS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            known = ", ".join(sorted(LOGGER_TYPE_TO_CLASS))
            problems.append(f"There is no tracker {name!r}.{hint} There are: {known}.")
        elif name in built_in and name not in installed:
            problems.append(f"The tracker {name!r} isn't installed. Install its package, or leave it out.")
    if problems:
        raise UserError("\n".join(problems))


def _registered() -> set[str]:
    """Names of trackers that were added with accelerate's `register_tracker_class`: being there, they're installed."""
    return {name for name, kind in LOGGER_TYPE_TO_CLASS.items() if kind.__module__ != GeneralTracker.__module__}


class Trackers:
    """The trackers of one run. Make it in the main process only, after the Accelerator if there is one.

    Args:
        names: as accelerate knows them.
        paths: of the run; event files go to `paths.tensorboard`, what else needs a folder to `paths.trackers`.
        project: the name under which trackers on the network file the run.
        resumed_at: the step a resumed run goes on from; TensorBoard hides what was written after it. None: a new run.
        options: further arguments for a tracker's constructor, by its name.
    """

    def __init__(
        self,
        names: Sequence[str],
        paths: RunPaths,
        *,
        project: str,
        resumed_at: int | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        check_trackers(names)
        self._trackers: list[Any] = []
        self._hook = threading.excepthook
        threading.excepthook = self._after_thread
        try:
            for name in dict.fromkeys(names):
                self._trackers.append(_start(name, paths, project, resumed_at, dict((options or {}).get(name, {}))))
        except BaseException:  # Ctrl-C too: the hook isn't ours to keep
            self.close()
            raise

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand the numbers to every tracker; one that fails is warned of and dropped."""
        for tracker in list(self._trackers):
            try:
                tracker.log(dict(metrics), step=step)
            except Exception as error:
                log.warning("the tracker %s failed and is left out from here on: %s", tracker.name, error)
                self._trackers.remove(tracker)

    def close(self) -> None:
        """Let every tracker finish its files and uploads."""
        for tracker in self._trackers:
            try:
                tracker.finish()
            except Exception as error:
                log.warning("the tracker %s could not finish: %s", tracker.name, error)
        self._trackers.clear()
        if threading.excepthook == self._after_thread:
            threading.excepthook = self._hook

    def _after_thread(self, ended: threading.ExceptHookArgs) -> None:
        """TensorBoard's writer gives its error to whoever writes next, so a traceback says nothing that `log` won't."""
        if not type(ended.thread).__module__.startswith("tensorboard."):
            self._hook(ended)


def _start(name: str, paths: RunPaths, project: str, resumed_at: int | None, arguments: dict[str, Any]) -> Any:
    """A tracker that has been told the settings of the run; UserError where it can't start."""
    kind = LOGGER_TYPE_TO_CLASS[name]
    try:
        if kind is TensorBoardTracker:
            if resumed_at is not None:
                arguments["purge_step"] = resumed_at + 1
            tracker = kind(paths.tensorboard.name, paths.root, **arguments)
        elif kind.requires_logging_directory:
            tracker = kind(project, paths.trackers, **arguments)
        else:
            tracker = kind(project, **arguments)
        tracker.start()
        if resumed_at is None:
            _tell_settings(tracker, paths)
    except Exception as error:  # each tracker has exceptions of its own
        raise UserError(f"The tracker {name!r} could not start ({error}). Leave it out, or mend it.") from error
    return tracker


def _tell_settings(tracker: Any, paths: RunPaths) -> None:
    config_yaml = paths.config.read_text(encoding="utf-8")
    if isinstance(tracker, TensorBoardTracker):  # its hyperparameters are a run of their own, so text serves better
        tracker.log({"config": "\n".join(f"    {line}" for line in config_yaml.splitlines())}, step=0)
    else:
        settings = flat_settings(config_yaml)
        plain = (bool, int, float, str)
        tracker.store_init_configuration({k: v if isinstance(v, plain) else str(v) for k, v in settings.items()})
