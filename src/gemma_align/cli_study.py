"""Commands about studies: `gemma-align study run FILE`, `study report FILE`, `study keep FILE`."""

from pathlib import Path
from typing import Annotated

import typer

from gemma_align.errors import UserError

study_app = typer.Typer(
    help="Compare methods over seeds at equal budget, and report.", no_args_is_help=True, rich_markup_mode=None
)

StudyFile = Annotated[Path, typer.Argument(metavar="FILE", help="A study such as those in configs/studies/.")]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The study's folder; else runs/studies/ and the file's name.")
]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="METHOD", help="This method alone; may be repeated.")]


@study_app.command("run")
def study_run_command(
    file: StudyFile,
    out: Out = None,
    only: Only = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cells side by side, each with its share of the cores.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left, and how long it may take.")] = False,
    pilots: Annotated[
        bool, typer.Option("--pilots", help="With --dry-run: try two updates of methods whose time isn't known yet.")
    ] = False,
) -> None:
    """Do what is left of a study; the same command goes on where it was stopped. Ends with the report."""
    from gemma_align.experiments.study.run import plan_study, run_study

    if pilots and not dry_run:
        raise UserError("--pilots tells how long a study will take: give it together with --dry-run")
    if dry_run:
        plan_study(file, out=out, only=only or (), pilots=pilots)
        return
    failed = run_study(file, out=out, jobs=jobs, only=only or ())

    from gemma_align.experiments.study.report import report_study

    report_study(file, out=out, only=only or ())
    if failed:
        raise typer.Exit(2)


@study_app.command("report")
def study_report_command(file: StudyFile, out: Out = None, only: Only = None) -> None:
    """Write the report of the cells that are done: a page, and the numbers as JSON."""
    from gemma_align.experiments.study.report import report_study

    report_study(file, out=out, only=only or ())


@study_app.command("keep")
def study_keep_command(file: StudyFile, out: Out = None) -> None:
    """Put the finished cells into the study's archive, small and without the data's texts."""
    from gemma_align.experiments.study.report import keep_study

    keep_study(file, out=out)
