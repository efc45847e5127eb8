"""When a run may be begun or gone on with.

What `RunDir.open` does, by what it finds:

    nothing, an empty folder, or a start-up that made nothing       a new run
    an unfinished run of this configuration, with resume            goes on with it
    an unfinished run of this configuration, without resume         error: --resume, another folder, or delete it
    a finished run of this configuration                            error; with resume, AlreadyFinished
    a run of another configuration                                  error that names the settings that differ
    a run that another process is writing                           error that names the process
    anything else                                                   error: not a run folder, left alone

`resume` where nothing was run is a new run, so the same command can be given again and again until the run is done.
"""

from gemma_align.errors import RunDirError
from gemma_align.experiments.config_diff import config_differences
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


def resumes(paths: RunPaths, config_yaml: str, resume: bool, remedy: str = REMEDY) -> bool:
    """Whether the folder's run is to be gone on with; False for a new run. RunDirError where neither is right."""
    finished = paths.read_status().get("state") == "finished"
    if not finished and not paths.has_results():
        return False
    elsewhere = f"choose another folder with {remedy}, or delete {paths.root}"
    try:
        differences = config_differences(paths.config.read_text(encoding="utf-8"), config_yaml)
    except (OSError, ValueError) as error:
        raise RunDirError(
            f"{paths.root} holds a run whose config.yml can't be read ({error}), so nothing can be added to it: "
            f"{elsewhere}."
        ) from error
    if differences:
        shown = differences[:_SHOWN_DIFFERENCES]
        more = len(differences) - len(shown)
        raise RunDirError(
            f"{paths.root} holds a run of another configuration:\n  "
            + "\n  ".join(shown + [f"and {more} more"] * (more > 0))
            + f"\nGive the configuration it was begun with, {elsewhere}."
        )
    if finished and resume:
        raise AlreadyFinished(f"The run in {paths.root} is already finished: nothing is left to do.")
    if finished:
        raise RunDirError(f"{paths.root} holds a finished run of this configuration: {elsewhere}.")
    if not resume:
        raise RunDirError(
            f"{paths.root} holds an unfinished run of this configuration. To go on with it, give the same command "
            f"with --resume; to begin anew, {elsewhere}."
        )
    return True
