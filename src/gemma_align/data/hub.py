"""Data sets of the Hugging Face hub, through `datasets` (imported only when one is asked for)."""

from gemma_align.data.places import hub_split_names
from gemma_align.data.readers.tables import Row
from gemma_align.errors import DataError
from gemma_align.types import Split


def read_hub(spec: str, asked: Split) -> dict[Split, list[Row]]:
    """The rows of `owner/name` or `owner/name:configuration` by split. Line numbers are row numbers, from 1.

    A set with a single split serves as the split that was asked for. Raises DataError with what was tried.
    """
    name, _, configuration = spec.partition(":")
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            _failed(spec, asked, "the package 'datasets' isn't installed (pip install datasets)")
        ) from error
    try:
        loaded = datasets.load_dataset(name, configuration or None)
        available = list(loaded)
        chosen = hub_split_names(available)
        if len(available) == 1:
            chosen = {asked: available[0]}
        rows: dict[Split, list[Row]] = {
            ours: [(i, dict(row)) for i, row in enumerate(loaded[theirs], start=1)] for ours, theirs in chosen.items()
        }
    except Exception as error:  # the hub's client raises anything from OSError to its own; all mean the same here
        raise DataError(_failed(spec, asked, f"{type(error).__name__}: {error}")) from error
    if not rows.get(asked):
        raise DataError(_failed(spec, asked, f"the set has the splits {', '.join(map(repr, available))} only"))
    return rows


def _failed(spec: str, split: Split, reason: str) -> str:
    return (
        f"data.{split}={spec!r}: there is no such file or folder, and as a hub id it can't be had: {reason}. "
        "Give a local file or folder, or 'builtin'."
    )
