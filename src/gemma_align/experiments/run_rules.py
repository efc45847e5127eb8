"""When a run may be begun or gone on with.

What `RunDir.open` does, by what it finds:

    nothing, an empty folder, or a start-up that made nothing       a new run
    an unfinished run of this configuration, with resume            goes on with it
    an unfinished run of this configuration, without resume         error: --resume, another folder, or delete it
    a finished run of this configuration                            error; with resume, AlreadyFinished
    a run that is to be evaluated otherwise, with resume            goes on with it, or evaluates it anew
    a run that is to be evaluated otherwise, without resume         error: --resume, another folder, or delete it
    a run of another configuration                                  error that names the settings that differ
    a run that another process is writing                           error that names the process
    anything else                                                   error: not a run folder, left alone

`resume` where nothing was run is a new run, so the same command can be given again and again until the run is done.
"""

from enum import Enum, auto

from gemma_align.errors import RunDirError
from gemma_align.experiments.config_diff import MEASURING, config_differences
from gemma_align.experiments.run_paths import RunPaths

_SHOWN_DIFFERENCES = 5
REMEDY = "output_dir=…"


class AlreadyFinished(RunDirError):
    """The run that was to be resumed is finished: nothing is left to do, and nothing is wrong."""


def refuse_foreign(paths: RunPaths, remedy: str = REMEDY) -> None:
    """RunDirError if the folder holds something that isn't a run; `remedy` is how the user names another one."""
    if not paths.is_empty() and not paths.is_run():
        raise RunDirError(
            f"{paths.root} holds files, but no run. Nothing was written there. "
            f"Choose a new or an empty folder with {remedy}"
        )


class Begin(Enum):
    """What is to be done with a folder."""

    NEW = auto()
    GO_ON = auto()
    MEASURE_ANEW = auto()
    """Go on, but no evaluation that lies there is of these settings."""


def how_to_begin(
    paths: RunPaths, config_yaml: str, resume: bool, remedy: str = REMEDY, *, trains: bool = True
) -> Begin:
    """What is to be done with the folder.

    Args:
        paths: of the folder.
        config_yaml: the resolved configuration.
        resume: go on with what is there.
        remedy: how the user names another folder.
        trains: the folder is a run's; else an evaluation's, which is another one where it measures otherwise.

    Raises:
        RunDirError: nothing of it is right.
        AlreadyFinished: with `resume`, where nothing is left to do.
    """
    finished = paths.read_status().get("state") == "finished"
    if not finished and not paths.has_results():
        return Begin.NEW
    elsewhere = f"choose another folder with {remedy}, or delete {paths.root}"
    try:
        differences = config_differences(paths.config.read_text(encoding="utf-8"), config_yaml)
    except (OSError, ValueError) as error:
        raise RunDirError(
            f"{paths.root} holds a run whose config.yml can't be read ({error}), so nothing can be added to it: "
            f"{elsewhere}."
        ) from error
    free = MEASURING if trains else ()
    if others := [line for line in differences if line.partition(": ")[0] not in free]:
        raise RunDirError(
            f"{paths.root} holds a run of another configuration:\n  {_shown(others)}\n"
            f"Give the configuration it was begun with, {elsewhere}."
        )
    if differences and not resume:
        raise RunDirError(
            f"{paths.root} holds a run that is evaluated otherwise:\n  {_shown(differences)}\n"
            "With --resume it is evaluated anew, which replaces the evaluation there, and nothing is trained a second "
            f"time; to train anew, {elsewhere}."
        )
    if differences and finished and not any(paths.checkpoints.glob("step-*")):
        raise RunDirError(
            f"{paths.root} has no checkpoints any more, so the run can't be taken up to be evaluated anew. "
            f"`gemma-align evaluate --adapter {paths.root} --out DIR` measures what it trained; to train anew, "
            f"{elsewhere}."
        )
    if differences:
        return Begin.MEASURE_ANEW
    if finished and resume:
        raise AlreadyFinished(f"The run in {paths.root} is already finished: nothing is left to do.")
    if finished:
        raise RunDirError(f"{paths.root} holds a finished run of this configuration: {elsewhere}.")
    if not resume:
        raise RunDirError(
            f"{paths.root} holds an unfinished run of this configuration. To go on with it, give the same command "
            f"with --resume; to begin anew, {elsewhere}."
        )
    return Begin.GO_ON


def _shown(differences: list[str]) -> str:
    more = len(differences) - _SHOWN_DIFFERENCES
    return "\n  ".join(differences[:_SHOWN_DIFFERENCES] + [f"and {more} more"] * (more > 0))
