"""The command line. Nothing heavy is imported before a command needs it, so that help and mistakes answer at once."""

import errno
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gemma_align import __version__
from gemma_align.cli_options import ConfigPath, Debug, Overrides
from gemma_align.cli_reward import pairs_app, reward_app
from gemma_align.cli_study import study_app
from gemma_align.errors import Interrupted, UserError
from gemma_align.sandbox.commands import app as sandbox_app

app = typer.Typer(
    help="Align Gemma 3 270M in several ways, at equal budget, and compare what comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
config_app = typer.Typer(help="Look into configurations.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(config_app, name="config")
app.add_typer(reward_app, name="reward")
app.add_typer(pairs_app, name="pairs")
app.add_typer(study_app, name="study")
app.add_typer(sandbox_app, name="sandbox")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # wherever it strikes, it is the user's to mend

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint: bundled:gemma-3-270m, a hub id, a folder.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest response, in tokens.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the sampling.")]
Base = Annotated[bool, typer.Option("--base", help="The untuned model that the run started from.")]


@app.command("run")
def run_command(
    config: ConfigPath,
    overrides: Overrides = None,
    debug: Debug = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with a run that was stopped; start it if there is none.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is done.")] = False,
) -> None:
    """Train and evaluate as a configuration says; the results are in its run folder."""
    from gemma_align.config import load_config

    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    loaded = load_config(config, overrides or (), debug=debug)

    from gemma_align.experiments.runner import run  # loads torch: only once the configuration is known to be good

    run(loaded, resume=resume)


@config_app.command("show")
def show_command(config: ConfigPath, overrides: Overrides = None, debug: Debug = False) -> None:
    """Print every setting of a configuration as it would be run, as YAML."""
    from gemma_align.config import load_config, resolved_yaml

    typer.echo(resolved_yaml(load_config(config, overrides or (), debug=debug)), nl=False)


@config_app.callback()
def _config() -> None:
    """Look into configurations."""


@app.command("generate")
def generate_command(
    run: Run,
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", help="What to answer; - reads it from standard input.")
    ],
    max_tokens: MaxTokens = 128,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    base: Base = False,
) -> None:
    """Answer prompts with a run's model; they are put to it as the run's task puts them."""
    prompts = [sys.stdin.read() if text == "-" else text for text in prompt]
    from gemma_align.experiments.use import generate_text

    texts = generate_text(run, prompts, max_tokens=max_tokens, temperature=temperature, seed=seed, base=base)
    typer.echo("\n\n".join(texts))


@app.command("chat")
def chat_command(
    run: Run,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.7,
    seed: Seed = 0,
    base: Base = False,
) -> None:
    """Talk with a run's model; Ctrl-D ends it."""
    from gemma_align.experiments.use import chat

    chat(run, max_tokens=max_tokens, temperature=temperature, seed=seed, base=base)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    merged: Annotated[Path, typer.Option("--merged", metavar="DIR", help="A new folder for the merged model.")],
) -> None:
    """Write a run's model as a plain transformers folder that loads anywhere, the adapter merged into the weights."""
    from gemma_align.models.export import export_merged

    typer.echo(f"The merged model is in {export_merged(run, merged)}")


@app.command("evaluate")
def evaluate_command(
    config: ConfigPath,
    overrides: Overrides = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="RUN", help="A run folder: its model beside the base model.")
    ] = None,
    task: Annotated[
        str, typer.Option(metavar="NAME", help="safety, clinical, code, or all; else the configuration's.")
    ] = "",
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="What to evaluate on: a file, a folder of published sets, a hub id."),
    ] = None,
    data_format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="Of the data, where it doesn't show.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where results go; else runs/evaluations/ and the model's name.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure a model on tasks, the same way for every model; on all tasks also what its training cost elsewhere."""
    import json

    from gemma_align.config import TASK_NAMES, load_config

    if task not in ("", "all", *TASK_NAMES):
        raise UserError(f"--task: wanted {', '.join(TASK_NAMES)} or all, given {task!r}")
    if data_format != "auto" and (data is None or task == "all"):
        given = "--task all" if task == "all" else "no --data"
        raise UserError(
            f"--format {data_format}: wanted --data PATH and a single task, whose format it is; given {given}"
        )
    own = [f"task={task}"] if task in TASK_NAMES else []
    own += [f"data.format={data_format}", f"data.report={json.dumps(data)}"] if data_format != "auto" else []
    loaded = load_config(config, [*(overrides or ()), *own], debug=debug)
    name = adapter.resolve().name if adapter else config.stem

    from gemma_align.experiments.evaluation import evaluate_models

    evaluate_models(
        loaded,
        adapter=adapter,
        tasks=TASK_NAMES if task == "all" else (loaded.task,),
        neutral=task == "all",
        data=data,
        out=out or Path("runs/evaluations") / (f"{name}-debug" if debug else name),
    )


@app.command("compare")
def compare_command(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, or of evaluations on one task.")
    ],
    against: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Differences to this one alone, to `base` or `best_of_N`; else all pairs."),
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Every run by itself, runs of one method with other seeds too.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything there.")] = None,
) -> None:
    """Say which run or method is better at what, example by example, and where nothing can be said."""
    from gemma_align.experiments.compare import compare_folders

    compare_folders(runs, against=against, separate=separate, json_file=json_file)


@app.command("judge")
def judge_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of an evaluation on one task.")],
    other: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="Another one, evaluated on the same examples.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Its evaluation.judge; else the run's.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible endpoint, up to /v1; without one the model is run here.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The endpoint's name for it, or a checkpoint or run folder.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds the endpoint's key.")
    ] = None,
    against: Annotated[
        str, typer.Option(metavar="NAME", help="Of a single run: base, few_shot or best_of_N.")
    ] = "base",
    num_examples: Annotated[int | None, typer.Option(min=1, help="At most so many; else all.")] = None,
) -> None:
    """Let a model say which of two stored responses is better, each pair in both orders."""
    import json

    from gemma_align.config import load_config

    file = config or run / "config.yml"
    if not file.is_file():
        raise UserError(f"{file} does not exist: wanted a run folder, or --config FILE")
    given = {"url": url, "model": model, "api_key_env": api_key_env}
    overrides = [f"evaluation.judge.{name}={json.dumps(value)}" for name, value in given.items() if value is not None]
    settings = load_config(file, overrides).evaluation.judge
    if settings is None:
        raise UserError("who is to judge? Give --model (and --url), or a configuration that has evaluation.judge")

    from gemma_align.experiments.judging import judge_runs

    judge_runs(run, other, settings, against=against, num_examples=num_examples)


@app.command("memory")
def memory_command(
    config: ConfigPath,
    overrides: Overrides = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, or cuda for a card that needn't be here; else the configuration's.")
    ] = None,
    measured: Annotated[bool, typer.Option("--measure", help="Run the step for real too, and compare.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell how much memory a configuration takes, before it is run, and what fits on a card of 6 or 8 GB."""
    from gemma_align.config import load_config

    loaded = load_config(config, overrides or ())

    from gemma_align.experiments.memory.report import memory

    memory(loaded, device=device, as_json=as_json, measured=measured)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gemma-align {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Align Gemma 3 270M in several ways, at equal budget, and compare what comes out."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its status: 2 for what the user can mend, 130 or 143 after a signal."""
    try:
        app(args=None if argv is None else list(argv), prog_name="gemma-align")
    except UserError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "gemma_align"):
            raise
        _fail(f"the Python package {package!r} is missing: run `make setup`, or pip install -e '.[dev]'")
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _fail(
            f"{error.filename or 'a file'} can't be written: {error.strerror}. What is saved is whole: make room, then "
            "give the same command again, a run's with --resume"
        )
    except Interrupted as stopped:
        _fail(str(stopped), stopped.status)
    except KeyboardInterrupt:  # outside of a command: while it was being imported, or in its clean-up
        sys.exit(130)
    sys.exit(0)


def runner_main(argv: Sequence[str] | None = None) -> NoReturn:
    """`gemma-align run` with the arguments of another program (`python -m src.experiments.runner`)."""
    main(["run", *(sys.argv[1:] if argv is None else argv)])


def _fail(message: str, status: int = 2) -> NoReturn:
    print(f"error: {message}" if status == 2 else message, file=sys.stderr)
    sys.exit(status)
