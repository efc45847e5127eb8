"""Results for people: a table of measures with intervals, and responses side by side. Reads well at 80 columns."""

import unicodedata
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gemma_align.evaluation.common import is_empty
from gemma_align.evaluation.evaluate import Evaluation, Record
from gemma_align.evaluation.results import differences
from gemma_align.evaluation.statistics import Interval

MAX_PROMPT, MAX_RESPONSE = 360, 600  # characters shown
MAX_NAME = 13  # of a measure's name in one line
FIRST = ("rouge1", "rouge2", "rougeL", "fact_coverage", "invented_facts", "invented_share", "response_loss", "finished")
"""Measures that a reader looks for; the others follow as they come."""


def results_table(tuned: Evaluation, base: Evaluation | None = None) -> RenderableType:
    """Measures with intervals; with a base, also tuned - base, paired, marked where its interval excludes zero."""
    num, percent = len(tuned.records), round(100 * tuned.confidence, 1)
    note = f"{tuned.task}, {tuned.split} split, {num} example{'s' * (num != 1)}; {percent:g} % intervals in brackets"
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("measure", no_wrap=True)
    if base is None:
        table.add_column(tuned.model, no_wrap=True)
        for name in _ordered(tuned):
            table.add_row(name, Text(shown(tuned.measures[name])))
        return Group(Text(note), Text(), table)
    found = differences(tuned, base)
    for title in (base.model, tuned.model, "difference"):
        table.add_column(title, no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in _ordered(tuned):
        cells = [base.measures.get(name), tuned.measures[name]]
        difference = found.get(name)
        table.add_row(
            _in_two_lines(name),
            *(Text(shown(cell)) if cell else Text("") for cell in cells),
            Text(shown(difference, sign="+")) if difference else Text(""),
            "*" if difference and difference.excludes_zero else "",
        )
    legend = f"* {tuned.model} - {base.model}, paired by example: the interval excludes zero"
    return Group(Text(note), Text(), table, Text(), Text(legend))


def samples(tuned: Evaluation, base: Evaluation | None = None, num: int = 3) -> RenderableType:
    """`num` examples spread evenly over the split, not picked by score: prompt, reference, base and tuned response."""
    parts: list[RenderableType] = []
    for i in _spread(len(tuned.records), num):
        record = tuned.records[i]
        parts += [
            Text(f"--- example {_clean(record.id)} ---", style="bold"),
            *_block("prompt", _middle_out(record.prompt)),
        ]
        if record.reference is not None:
            parts += _block("reference", record.reference)
        if base is not None:
            parts += _response(base.model, base.records[i])
        parts += [*_response(tuned.model, record), Text()]
    return Group(*parts)


def _response(model: str, record: Record) -> Sequence[RenderableType]:
    return _block(model + ("" if record.finished else " (cut at the length limit)"), record.response)


def _block(label: str, text: str) -> Sequence[RenderableType]:
    nothing, text = is_empty(text), _clean(text).strip()
    if len(text) > MAX_RESPONSE:
        text = text[:MAX_RESPONSE].rstrip() + " ..."
    return [Text(f"{label}:", style="dim"), Padding(Text("(empty)" if nothing else text), (0, 0, 0, 4), expand=False)]


def _middle_out(prompt: str) -> str:
    """What to do stands at a prompt's start and the last turn at its end: the middle goes."""
    prompt = prompt.strip()
    if len(prompt) <= MAX_PROMPT:
        return prompt
    half = MAX_PROMPT // 2
    return f"{prompt[:half].rstrip()} ... {prompt[-half:].lstrip()}"


def _clean(text: str) -> str:
    """Without characters that would steer a terminal; a model may well produce them."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf") else "�" for c in text)


def _spread(length: int, num: int) -> list[int]:
    return sorted({(2 * i + 1) * length // (2 * num) for i in range(num)}) if length and num else []


def _ordered(evaluation: Evaluation) -> list[str]:
    first = [name for name in FIRST if name in evaluation.measures]
    return first + [name for name in evaluation.measures if name not in first]


def _in_two_lines(name: str) -> str:
    """A long name parted behind an underscore, so that three columns of numbers fit beside it."""
    at = name.rfind("_", 0, MAX_NAME) + 1 if len(name) > MAX_NAME else 0
    return f"{name[:at]}\n{name[at:]}" if at else name


def shown(interval: Interval, sign: str = "") -> str:
    """An estimate with its interval; alone where it has none."""
    if interval.low is None or interval.high is None:
        return number(interval.mean, sign)
    return f"{number(interval.mean, sign)} [{number(interval.low, sign)} {number(interval.high, sign)}]"


def number(value: float, sign: str = "") -> str:
    """At least three significant digits in at most five characters and a sign, up to 99,999."""
    decimals = 3 if abs(value) < 9.9995 else 1 if abs(value) < 999.95 else 0
    return f"{value:{sign}.{decimals}f}"
