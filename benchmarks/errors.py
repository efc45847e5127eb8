"""What stops a benchmark; printed without a traceback."""


class BenchmarkError(RuntimeError):
    """What was wanted, what was found, what to do."""
