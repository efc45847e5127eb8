"""Only there so that `python -m src.experiments.runner` finds this folder; the package is `gemma_align`."""
