"""`python -m src.experiments.runner --config FILE` from a clone is `gemma-align run --config FILE`."""

import sys
from pathlib import Path


def main() -> None:
    """Hand over to the package of this clone, whether or not it is installed."""
    source = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(source))
    try:
        from gemma_align.cli import runner_main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "gemma_align"):
            raise
        print(f"error: the Python package {error.name!r} is missing. {_remedy(source.parent)}", file=sys.stderr)
        sys.exit(2)
    runner_main()


def _remedy(clone: Path) -> str:
    python = clone / ".venv" / "bin" / "python"
    command = f"{python.relative_to(clone)} -m src.experiments.runner …"
    if python.exists() and Path(sys.prefix) != python.parents[1]:
        return f"`make setup` was run here already; use its Python: {command}"
    return f"Run `make setup`, then {command}; or pip install -e '.[dev]'"


if __name__ == "__main__":
    main()
