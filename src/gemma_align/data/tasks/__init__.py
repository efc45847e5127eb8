"""The three tasks, by name. `load_task` turns a configuration into examples."""

from collections.abc import Collection
from difflib import get_close_matches

from gemma_align.data.loading import load
from gemma_align.data.task import DataSettings, LoadedTask, TaskSpec
from gemma_align.data.tasks.clinical import CLINICAL
from gemma_align.data.tasks.code import CODE
from gemma_align.data.tasks.safety import SAFETY
from gemma_align.errors import ConfigError

TASKS: dict[str, TaskSpec] = {spec.name: spec for spec in (CLINICAL, SAFETY, CODE)}


def load_task(name: str, data: DataSettings, *, needs: Collection[str] = ()) -> LoadedTask:
    """The task's examples by split, cleaned, with the account of what was read.

    `needs` names what training can't do without ("response", "rejected"): rows of train and tune that lack it
    are dropped and counted. Raises DataError for data that can't be used, ConfigError for an unknown task.
    """
    if name not in TASKS:
        near = get_close_matches(name, TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"task={name!r}: one of {', '.join(TASKS)} was wanted{hint}")
    return load(TASKS[name], data, needs)
