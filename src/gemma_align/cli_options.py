"""Options that commands of several modules share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="A YAML file such as those in configs/.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings over the file's, such as training.learning_rate=3e-4."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Two or three batches of everything, in a run folder of its own.")]
