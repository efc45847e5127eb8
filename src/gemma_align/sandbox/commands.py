"""`gemma-align sandbox check` and `gemma-align sandbox grade`."""

import logging
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Run generated Python confined, and judge it.", no_args_is_help=True, rich_markup_mode=None)

Without = Annotated[
    list[str] | None,
    typer.Option("--without", metavar="LAYER", help="Do without seccomp, landlock or rlimits, on your own risk."),
]


@app.command("check")
def check_command(without: Without = None) -> None:
    """Print the layers in force here, and what a confined program tried in vain."""
    from gemma_align.sandbox.sandbox import Sandbox

    _log()
    with Sandbox(num_workers=1, without=without or ()) as sandbox:
        typer.echo(f"layers: {', '.join(sandbox.layers)}")
        for probe in sandbox.probes:
            typer.echo(f"{'ok ' if probe.good else 'BAD'} {probe.says}")


@app.command("grade")
def grade_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.jsonl", help="Lines of {id, prompt, response, tests, entry_point}.")
    ],
    cpu_seconds: Annotated[int, typer.Option(min=1, help="Processor time of a program, all its tests.")] = 5,
    memory_mib: Annotated[int, typer.Option(min=128, help="Address space of a program, in MiB.")] = 1024,
    workers: Annotated[int | None, typer.Option(min=1, help="Programs side by side; else one a core.")] = None,
    without: Without = None,
) -> None:
    """Grade programs by their tests; prints one JSON line a program, in order."""
    import json

    from gemma_align.sandbox.lines import programs
    from gemma_align.sandbox.records import Limits
    from gemma_align.sandbox.sandbox import Sandbox

    _log()
    given = programs(file)
    limits = Limits(cpu_seconds=cpu_seconds, memory_bytes=memory_mib * 2**20)
    with Sandbox(limits, num_workers=workers, without=without or ()) as sandbox:
        for grade in sandbox.stream(given):
            line = {
                "id": grade.id,
                "passed": None if grade.unsupported else grade.all_passed,
                "parsed": grade.parsed,
                "ran": grade.ran,
                "timeout": grade.timeout,
                "unsupported": grade.unsupported or None,
                "tests": list(grade.passed),
                "reasons": list(grade.reasons),
                "error": grade.error,
                "seconds": round(grade.seconds, 4),
                "cpu_seconds": round(grade.cpu_seconds, 4),
                "layers": list(grade.layers),
            }
            typer.echo(json.dumps(line))


def _log() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
