"""Commands about the reward and the pairs it learns from: `gemma-align reward …`, `gemma-align pairs …`."""

from pathlib import Path
from typing import Annotated

import typer

from gemma_align.cli_options import ConfigPath, Debug, Overrides

reward_app = typer.Typer(help="Fit and examine the reward.", no_args_is_help=True, rich_markup_mode=None)
pairs_app = typer.Typer(help="Make preference pairs.", no_args_is_help=True, rich_markup_mode=None)


@reward_app.command("fit")
def reward_fit_command(config: ConfigPath, overrides: Overrides = None, debug: Debug = False) -> None:
    """Fit the reward's encoder to preference pairs, and say what it is worth on held-out ones."""
    from gemma_align.config import load_config

    loaded = load_config(config, overrides or (), debug=debug)

    from gemma_align.experiments.reward_fit import reward_fit

    reward_fit(loaded)


@reward_app.command("score")
def reward_score_command(
    config: ConfigPath,
    source: Annotated[Path, typer.Option("--input", metavar="FILE.jsonl", help="Lines of {id, prompt, response}.")],
    target: Annotated[Path, typer.Option("--output", metavar="FILE.jsonl", help="A line for each, in order.")],
    overrides: Overrides = None,
) -> None:
    """Score answers: the total, its parts, and which constraint fired where."""
    from gemma_align.config import load_config

    loaded = load_config(config, overrides or ())

    from gemma_align.experiments.reward_score import score_file

    rate = score_file(loaded, source, target)
    typer.echo(f"{target}: {rate:.0f} answers a second")


@reward_app.command("attack")
def reward_attack_command(
    config: ConfigPath,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the result goes; else runs/attack_ and the file's name.")
    ] = None,
    num_examples: Annotated[int, typer.Option(min=1, help="Honest answers to attack, at most.")] = 50,
    steps: Annotated[int, typer.Option(min=1, help="Of a search.")] = 16,
    width: Annotated[int, typer.Option(min=1, help="Edits that each step tries.")] = 16,
    samples: Annotated[int, typer.Option(min=0, help="A policy's answers to each prompt, for best-of-n; 0: none.")] = 0,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="RUN", help="A run folder: its model gives the samples.")
    ] = None,
) -> None:
    """Attack the reward: how often systematic and searched exploits score higher than honest answers."""
    from gemma_align.config import load_config

    loaded = load_config(config, overrides or ())

    from gemma_align.experiments.reward_attack import reward_attack
    from gemma_align.rewards.attacks.search import Budget

    reward_attack(
        loaded,
        out or Path("runs") / f"attack_{config.stem}",
        num_examples=num_examples,
        budget=Budget(steps=steps, width=width),
        num_samples=samples,
        adapter=adapter,
    )


@reward_app.command("curve")
def reward_curve_command(
    config: ConfigPath,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where it goes; else runs/curve_ and the file's name.")
    ] = None,
    num_prompts: Annotated[int, typer.Option(min=2, help="Prompts, at most.")] = 50,
    samples: Annotated[int, typer.Option(min=8, max=4096, help="A policy's answers to each prompt.")] = 32,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="RUN", help="A run folder: its model gives the samples.")
    ] = None,
) -> None:
    """Best of n by the reward, against the gold measure: where more reward stops meaning a better answer."""
    from gemma_align.config import load_config

    loaded = load_config(config, overrides or ())

    from gemma_align.experiments.reward_curve import reward_curve

    target = out or Path("runs") / f"curve_{config.stem}"
    reward_curve(loaded, target, num_prompts=num_prompts, num_samples=samples, adapter=adapter)


@reward_app.callback()
def _reward() -> None:
    """Fit and examine the reward."""


@pairs_app.command("make")
def pairs_make_command(
    config: ConfigPath,
    overrides: Overrides = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="RUN", help="A run folder: its model is sampled.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where pairs go; else runs/pairs/, the file's name and the task.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make preference pairs for clinical notes or programs: a good response and one with something wrong in it."""
    from gemma_align.config import load_config

    loaded = load_config(config, overrides or (), debug=debug)
    name = f"{config.stem}-{loaded.task}{'-debug' if debug else ''}"

    from gemma_align.experiments.pairs import make_pairs

    make_pairs(loaded, adapter=adapter, out=out or Path("runs/pairs") / name)


@pairs_app.callback()
def _pairs() -> None:
    """Make preference pairs."""
