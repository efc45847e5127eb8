"""Where an evaluation's examples come from, task by task."""

from pathlib import Path

from gemma_align.config import Config, DataConfig
from gemma_align.data.places import BUILTIN, find_places, known_places
from gemma_align.data.tasks import TASKS
from gemma_align.errors import DataError


def task_data(config: Config, task: str, data: str | None, *, several: bool) -> DataConfig:
    """The data settings of one task of an evaluation.

    Without `data` the configuration's own task has the configuration's data, and every other one builtin data. `data`
    that is a folder of published sets gives each task its own, training rows for worked examples included. Any other
    `data` gives the evaluated examples alone; training rows are then the configuration's where worked examples are
    asked for, builtin otherwise.

    Args:
        config: its data and evaluation settings.
        task: the task's name.
        data: a file, a folder or a hub id; None if it wasn't given.
        several: whether more tasks than one are evaluated, so that `data` has to be a folder that parts them.

    Raises:
        DataError: a folder without sets of the task, or a place that has nothing for several tasks.
    """
    plain = {"train": BUILTIN, "tune": None, "report": None, "balance": None}
    own = config.data if task == config.task else config.data.model_copy(update=plain | {"format": "auto"})
    if data is None:
        return own
    split, known, folder = config.evaluation.split, TASKS[task].known, Path(data).expanduser()
    if folder.is_dir():
        places = known_places(folder, own.format, known)
        if "train" in places:
            return own.model_copy(update=plain | {"train": data})
        if several and split not in places:
            names = ", ".join(sorted({entry.pattern for entry in known if entry.split == split}))
            raise DataError(
                f"--data {data}: the folder has no known {split} file of the task {task}. Known names: {names}. "
                "Add one, or give one task with --task."
            )
    elif several:
        raise DataError(
            f"--data {data}: for several tasks a folder was wanted that holds a published set of each (docs/data.md); "
            "give one task with --task, or that folder"
        )
    find_places(data, split, own.format, known)  # says what is wrong before anything is read
    base = own if config.evaluation.few_shot and task == config.task else own.model_copy(update=plain)
    return base.model_copy(update={split: data})
