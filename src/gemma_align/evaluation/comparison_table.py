"""A comparison for people, at 80 columns, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gemma_align.evaluation.comparison import Comparison
from gemma_align.evaluation.directions import direction
from gemma_align.evaluation.length_control import noticeable
from gemma_align.evaluation.statistics import Interval
from gemma_align.evaluation.verdicts import Pair, Row, Statement

WIDTH, FOLD = 80, 21  # columns of the terminal; of a name

RUNS = "Of these trained models: would it come out like this on other examples drawn like these?"
METHODS = "Of the methods: would it come out like this with other training seeds and other examples?"
NO_SEEDS = (
    "Each model here is one training run, so nothing is said about what another seed would give. "
    "Give runs of several seeds to compare methods."
)


def comparison_table(comparison: Comparison, about: Mapping[str, Any], notes: Sequence[str] = ()) -> RenderableType:
    """What was asked, every model's values, every pair's differences, and who wins where.

    Args:
        comparison: the numbers.
        about: what all were evaluated on: task, split, num_examples, decoding.max_new_tokens.
        notes: lines that a reader should know.
    """
    parts: list[RenderableType] = [
        Text(_heading(comparison, about)),
        *(Text(f"note: {note}") for note in notes),
        Text(),
    ]
    parts += _values("model", comparison.runs)
    if comparison.methods:
        parts += _values("method", comparison.methods)
    for pair in comparison.pairs:
        parts += _pair(pair, comparison)
    if not any(row.method for pair in comparison.pairs for row in pair.rows):
        parts += [Text(NO_SEEDS), Text()]
    return Group(*parts, *_legend(comparison), *_verdicts(comparison))


def comparison_json(
    comparison: Comparison, about: Mapping[str, Any], runs: Mapping[str, Any], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything, as JSON values. Differences are second - first; `corrected` is Holm's p."""
    return {
        "evaluated_on": dict(about),
        "runs": {name: dict(facts) for name, facts in runs.items()},
        "notes": list(notes),
        "confidence": comparison.confidence,
        "questions": {"runs": RUNS, "method": METHODS},
        "num_tests": dict(zip(("runs", "method"), comparison.num_tests, strict=True)),
        "values": {name: {m: asdict(i) for m, i in found.items()} for name, found in comparison.runs.items()},
        "methods": {name: {m: asdict(i) for m, i in found.items()} for name, found in comparison.methods.items()},
        "pairs": [
            {
                "first": pair.first,
                "second": pair.second,
                "length_ratio": asdict(pair.lengths) if pair.lengths else None,
                "no_method": pair.no_method,
                "measures": {
                    row.measure: {
                        "better": direction(row.measure).better,
                        "why": direction(row.measure).why,
                        "runs": asdict(row.runs),
                        "method": asdict(row.method) if row.method else None,
                        "seed_share": row.seed_share,
                        "at_equal_length": asdict(row.at_equal_length) if row.at_equal_length else None,
                    }
                    for row in pair.rows
                },
            }
            for pair in comparison.pairs
        ],
    }


def _heading(comparison: Comparison, about: Mapping[str, Any]) -> str:
    num = about["num_examples"]
    longest = about.get("decoding.max_new_tokens")
    asked = f", greedy, at most {longest} tokens" if longest else ""
    return (
        f"{about['task']}, {about['split']} split, {num} example{'s' * (num != 1)}{asked}; "
        f"{round(100 * comparison.confidence, 1):g} % intervals in brackets"
    )


def _values(what: str, values: Mapping[str, Mapping[str, Interval]]) -> list[RenderableType]:
    """As many side by side as fit into the width."""
    measures = _ordered(dict.fromkeys(m for found in values.values() for m in found))
    columns = {
        name: [_interval(found[m]) if m in found else Text("") for m in measures] for name, found in values.items()
    }
    groups: list[list[str]] = []
    left = 0
    for name, cells in columns.items():
        width = 1 + max(len(cell) for cell in [Text(line) for line in _folded(name).splitlines()] + cells)
        if not groups or width > left:
            groups.append([])
            left = WIDTH - max(len(m) for m in [*measures, what])
        groups[-1].append(name)
        left -= width
    parts: list[RenderableType] = []
    for names in groups:
        table = _table(what, *map(_folded, names))
        for i, measure in enumerate(measures):
            table.add_row(measure, *(columns[name][i] for name in names))
        parts += [table, Text()]
    return parts


def _folded(name: str) -> str:
    """A long name on several lines."""
    return "\n".join(name[i : i + FOLD] for i in range(0, len(name), FOLD))


def _pair(pair: Pair, comparison: Comparison) -> list[RenderableType]:
    title = f"{pair.second} - {pair.first}"
    rows = {row.measure: row for row in pair.rows}
    order = _ordered(rows)
    parts: list[RenderableType] = [Text(title, style="bold")]
    methods = {m: rows[m].method for m in order if rows[m].method is not None}
    if methods:
        parts += [Text(METHODS), _statements(methods), Text()]
    elif pair.no_method and comparison.methods:
        parts += [Text(f"Nothing can be said about the methods: {pair.no_method}."), Text()]
    parts += [Text(RUNS), _statements({m: rows[m].runs for m in order}), Text()]
    return parts + _equal_length(pair, [rows[m] for m in order])


def _statements(statements: Mapping[str, Statement | None]) -> Table:
    table = _table("measure", "difference", "p", "")
    for measure, statement in statements.items():
        assert statement is not None
        p = "" if statement.corrected is None else _p(statement.corrected)
        table.add_row(measure, _interval(statement.difference, "+"), p, _says(measure, statement))
    return table


def _says(measure: str, statement: Statement) -> str:
    if direction(measure).better is None:
        return "no way is better"
    if statement.winner is not None:
        return f"{statement.winner} better"
    return "open" if statement.smallest is None else f"open ({_number(statement.smallest)})"


def _equal_length(pair: Pair, rows: Sequence[Row]) -> list[RenderableType]:
    controlled = [row for row in rows if row.at_equal_length is not None]
    if pair.lengths is None or not noticeable(pair.lengths) or not controlled:
        return []
    table = _table("measure", "difference", "at equal length", "")
    for row in controlled:
        found = row.at_equal_length
        assert found is not None
        mark = "outside the data" if found.extrapolated else ""
        table.add_row(row.measure, _number(row.runs.difference.mean, "+"), _interval(found.difference, "+"), mark)
    says = f"{pair.second}'s responses are {_interval(pair.lengths)} times as long as {pair.first}'s. At equal length:"
    return [Text(says), table, Text()]


def _legend(comparison: Comparison) -> list[RenderableType]:
    tests = " and ".join(str(n) for n in comparison.num_tests if n)
    sides = " (these models, the methods)" if all(comparison.num_tests) else ""
    return [
        Text(f"p: corrected (Holm) for the {tests} differences{sides} that could name a winner."),
        Text("open (x): nothing can be said; a true difference of x would have been found 4 times in 5."),
        Text(),
    ]


def _verdicts(comparison: Comparison) -> list[RenderableType]:
    """Who wins where, in words: of the methods where there is a statement about them, else of the models."""
    lines = []
    for pair in comparison.pairs:
        about_methods = any(row.method for row in pair.rows)
        won: dict[str, list[str]] = {pair.second: [], pair.first: []}
        unsettled: list[str] = []
        for row in pair.rows:
            statement = row.method if about_methods else row.runs
            if statement is None or direction(row.measure).better is None:
                continue
            (unsettled if statement.winner is None else won[statement.winner]).append(row.measure)
        said = [f"{name} better in {', '.join(measures)}" for name, measures in won.items() if measures]
        said += [f"open: {', '.join(unsettled)}"] if unsettled else []
        what = "methods" if about_methods else "these models"
        lines.append(Text(f"{pair.second} against {pair.first} ({what}): {'; '.join(said) or 'nothing to judge'}."))
    return [Text("Who wins where", style="bold"), *lines]


def _table(*titles: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for title in titles:
        table.add_column(Text(title), no_wrap=bool(title))  # what stands in the last column may be long
    return table


def _ordered(measures: Mapping[str, Any]) -> list[str]:
    """Those that can be won first."""
    return sorted(measures, key=lambda measure: direction(measure).better is None)


def _interval(interval: Interval, sign: str = "") -> Text:
    """An estimate with its interval; alone where it has none."""
    if interval.low is None or interval.high is None:
        return Text(_number(interval.mean, sign))
    return Text(f"{_number(interval.mean, sign)} [{_number(interval.low, sign)} {_number(interval.high, sign)}]")


def _number(value: float, sign: str = "") -> str:
    decimals = 3 if abs(value) < 9.9995 else 1 if abs(value) < 999.95 else 0
    return f"{value:{sign}.{decimals}f}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"
