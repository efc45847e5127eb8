"""Terms of a user's own: `reward.terms: [{call: "package.module:function", weight: 0.5}]`.

The function takes one `Example` and one `Answer` (types.py) and returns a number. It is called once an answer, so that
an error can name the example; it should be a pure function of the two. `reward.terms[].timeout` limits its time
(`time_limit.py`).
"""

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gemma_align.errors import ConfigError, RewardError
from gemma_align.types import Answer, Example

Term = Callable[[Example, Answer], float]


def load_term(call: str) -> Term:
    """The function that `package.module:function` names; modules are looked for in the current folder too.

    Raises ConfigError where there is no such module or function, with what was found instead.
    """
    module_name, _, name = call.partition(":")
    if not module_name or not name:
        raise ConfigError(f"reward.terms: call={call!r}: wanted package.module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # last: nothing that is installed is replaced
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module does when it is imported
        raise ConfigError(
            f"reward.terms: the module {module_name!r} of call={call!r} can't be imported "
            f"({type(error).__name__}: {error}). Is it in this folder, or on the Python path?"
        ) from error
    term: Any = getattr(module, name, None)
    if not callable(term):
        there = ", ".join(n for n in vars(module) if callable(getattr(module, n)) and not n.startswith("_")) or "none"
        raise ConfigError(f"reward.terms: {module_name} has no function {name!r}. Its functions: {there}")
    return term


def score_term(call: str, term: Term, examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
    """One number an answer.

    Raises RewardError, with the example's id, where the term raises or returns no finite number.
    """
    found = []
    for example, answer in zip(examples, answers, strict=True):
        try:
            value: Any = term(example, answer)
        except Exception as error:
            raise RewardError(
                f"the reward's term {call} failed on example {example.id!r}: {type(error).__name__}: {error}. Mend the "
                "function or take it out of reward.terms: a failing term is never scored as 0"
            ) from error
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise RewardError(
                f"the reward's term {call} gave {value!r} for example {example.id!r}; wanted one finite number"
            )
        found.append(float(value))
    return found
