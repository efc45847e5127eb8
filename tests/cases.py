"""How many cases a property is tried with: few in the tests, as many as one likes with `make fuzz CASES=10000`."""

import os


def cases(usual: int) -> int:
    return int(os.environ.get("CASES", usual))
