"""`gemma-align study report` and `study keep`: from finished cells to the page, the numbers and the archive."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gemma_align.errors import RunDirError, UserError
from gemma_align.experiments.files import json_text, write_json, write_text
from gemma_align.experiments.study.answer import answer
from gemma_align.experiments.study.page import MAX_BYTES, study_page
from gemma_align.experiments.study.record import record_of, write_archive
from gemma_align.experiments.study.run import Plan, archive_of

PAGE, NUMBERS = "report.html", "report.json"


def report_study(file: Path, *, out: Path | None, only: Sequence[str] = ()) -> Path:
    """Writes the page and the numbers, and says the answer; returns the page's path.

    Args:
        file: the study's.
        out: its folder; None: runs/studies/ and the file's name.
        only: names of methods; empty: all.

    Raises:
        UserError: nothing is done yet, or cells don't compare.
    """
    plan = Plan(file, out, only)
    study, folder = plan.study, plan.folder
    records, missing = _records(plan, candidates=False)
    found = answer(study, records, missing)
    page = study_page(found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / PAGE, page)
        write_json(folder / NUMBERS, found)
    except OSError as error:
        reason = error.strerror or error
        raise RunDirError(f"Can't write the report to {folder}: {reason}. Choose another with --out") from error
    console = Console(highlight=False, soft_wrap=True)
    for part in found["tasks"].values():
        for line in part["words"]:
            console.print(line)
    for claim in found["claims"]:
        console.print(f"claim: {claim['text']} ({claim['task']}): {claim['words']}")
    if missing:
        console.print(f"not done yet: {'; '.join(missing)}")
    if len(page.encode()) > MAX_BYTES:
        console.print(f"the page is large ({len(page) / 1e6:.1f} MB): fewer num_samples_shown make it smaller")
    console.print(f"report: {folder / PAGE}")
    return folder / PAGE


def keep_study(file: Path, *, out: Path | None) -> Path:
    """Adds the finished cells to the study's archive; cells that it no longer has are dropped. Returns its path."""
    plan = Plan(file, out)
    path = archive_of(plan.study, file)
    if path is None:
        raise UserError(f"{file}: wanted `archive: FILE.json.gz`, the file that keeps finished cells; there is none")
    records, _ = _records(plan, candidates=True)
    if not records:
        raise UserError(f"no cell of {file} is done yet: gemma-align study run {file}")
    write_archive(path, _portable(records, plan))
    Console(highlight=False, soft_wrap=True).print(f"{path}: {len(records)} cells, {path.stat().st_size / 1e3:.0f} kB")
    return path


def _portable(records: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Without the folders of this machine: the study's own is its default one, data lies where variables say."""
    text = json_text(records)
    default = f"runs/studies/{plan.file.stem}"
    places = {str(plan.folder.absolute()): default, str(plan.folder): default}
    for variable in re.findall(r"\$\{?(\w+)", json_text(plan.study.model_dump(mode="json"))):
        if os.environ.get(variable):
            places[os.environ[variable].rstrip("/")] = f"${variable}"
    places[str(Path.home())] = "~"
    for place, name in places.items():
        text = text.replace(json.dumps(place)[1:-1], name)
    return dict(json.loads(text))


def _records(plan: Plan, *, candidates: bool) -> tuple[dict[str, Any], list[str]]:
    """Of the cells of the table, or of all, by the names of their folders; and the names of those that aren't done."""
    records: dict[str, Any] = {}
    missing: list[str] = []
    for cell in plan.cells():
        if cell.candidate is not None and not candidates:
            continue
        if cell.finished:
            records[cell.folder.name] = record_of(cell)
        elif plan.done(cell):
            records[cell.folder.name] = plan.kept[cell.folder.name]
        else:
            missing.append(cell.name + (f" (failed: {cell.failure})" if cell.failure else ""))
    return records, missing + [f"all of {name}" for name in plan.waiting]
