"""What a family of programming problems consists of. `code.py` turns one into examples."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Family:
    """One problem with free parameters.

    what     completes "Write a function to …"; {k} and other parameters are filled in
    names    what the function may be called
    code     the reference solution; NAME stands for the function's name, parameters for themselves in braces
    inputs   the kind of each argument: whole, small, numbers, sorted, word, words, sentence, rows, ages
    values   the values each parameter may take
    edge     arguments of one more hidden test, for the case that is easily forgotten
    related  whether half of the second arguments are the first with its letters in another order
    """

    what: str
    names: tuple[str, ...]
    code: str
    inputs: tuple[str, ...]
    values: dict[str, tuple[object, ...]] = field(default_factory=dict)
    edge: tuple[object, ...] | None = None
    related: bool = False
