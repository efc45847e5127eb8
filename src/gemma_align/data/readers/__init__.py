"""Readers of published formats: rows of a file or of a hub set become items, or are counted as dropped."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_align.data.readers import clinical, code, own, safety
from gemma_align.data.readers.fields import Fields, Item, Parsed
from gemma_align.data.readers.tables import Row, read_rows
from gemma_align.data.report import BadRow, Ledger, Source
from gemma_align.data.text import clean
from gemma_align.errors import DataError

__all__ = ["FORMATS", "Format", "Item", "detect_format", "read_file", "read_items"]


@dataclass(frozen=True, slots=True)
class Format:
    """One published format. A file is taken for it if it has all columns of any of `columns`."""

    parse: Callable[[Fields, str], Parsed]
    columns: tuple[frozenset[str], ...]


def _columns(*alternatives: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(names.split()) for names in alternatives)


# In the order in which `auto` tries them: the most particular columns first.
FORMATS: Mapping[str, Format] = {
    "mts_dialog": Format(clinical.mts_dialog, _columns("section_header section_text dialogue")),
    "hh_rlhf": Format(safety.hh_rlhf, _columns("chosen rejected")),
    "humaneval": Format(code.humaneval, _columns("prompt entry_point canonical_solution test")),
    "mbpp": Format(code.mbpp, _columns("task_id code test_list")),
    "conala": Format(code.conala, _columns("intent snippet")),
    "xstest": Format(safety.xstest, _columns("prompt type label")),
    "harmbench": Format(safety.harmbench, _columns("Behavior FunctionalCategory")),
    "advbench": Format(safety.advbench, _columns("Behavior BehaviorID", "goal target")),
    "jsonl": Format(own.jsonl, _columns("prompt")),
}


def read_file(path: Path, format_name: str, cue: str, ledger: Ledger, name: str | None = None) -> list[Item]:
    """The items of one file; `format_name` "auto" decides by the columns of its first readable row.

    Raises DataError where the file can't be read or none of its rows can be used.
    """
    return read_items(read_rows(path), str(path), name or _stem(path), format_name, cue, ledger)


def read_items(rows: Iterable[Row], source: str, name: str, format_name: str, cue: str, ledger: Ledger) -> list[Item]:
    """The items of any rows. Ids are `format/name/id`, with the line where a row has no id; own ids stay."""
    rows = list(rows)
    seen = next((list(fields) for _, fields in rows if not isinstance(fields, BadRow)), [])
    if format_name == "auto":
        format_name = detect_format(seen, source) if seen else "jsonl"
    account = ledger.open(source, format_name)
    items = []
    for line, fields in rows:
        account.num_read += 1
        try:
            parsed = _parse(fields, format_name, cue, account)
        except BadRow as bad:
            account.drop(line, bad.reason, bad.detail)
            continue
        row_id = parsed.example.id
        if format_name != "jsonl" or not row_id:
            row_id = f"{format_name}/{name}/{row_id or line}"
        example = replace(parsed.example, id=row_id)
        items.append(Item(example, parsed.key, parsed.split, account, line, parsed.shot))
    if not items:
        raise _nothing_usable(account, format_name, seen)
    return items


def _parse(fields: dict[str, object] | BadRow, format_name: str, cue: str, account: Source) -> Parsed:
    if isinstance(fields, BadRow):
        raise fields
    try:
        cleaned, changed = clean(fields)
        parsed = FORMATS[format_name].parse(cleaned, cue)
    except RecursionError as error:
        raise BadRow("nested too deeply") from error
    if changed:
        account.mended["control characters removed"] += 1
    return parsed


def detect_format(columns: Iterable[str], source: str) -> str:
    """The first format whose columns are all there. Raises DataError where there is none."""
    have = set(columns)
    for name, known in FORMATS.items():
        if any(wanted <= have for wanted in known.columns):
            return name
    known_columns = "\n".join(
        f"  {name}: {' or '.join(', '.join(sorted(wanted)) for wanted in known.columns)}"
        for name, known in FORMATS.items()
    )
    raise DataError(
        f"{source}: no known format has the columns {', '.join(sorted(map(repr, have))[:20])}. "
        f"Rename them, or give data.format. Columns of the formats:\n{known_columns}"
    )


def _nothing_usable(account: Source, format_name: str, seen: list[str]) -> DataError:
    wanted = " or ".join(", ".join(sorted(names)) for names in FORMATS[format_name].columns)
    reasons = "; ".join(f"{reason} ({n:,} rows)" for reason, n in Counter(account.dropped).most_common(3))
    where = account.problems[0] if account.problems else None
    detail = f" First, line {where.line}: {where.detail}." if where and where.detail else ""
    return DataError(
        f"{account.name}: none of its {account.num_read:,} rows can be used as {format_name}: {reasons or 'no rows'}."
        f"{detail} Wanted columns: {wanted}; given: {', '.join(seen[:20]) or 'none'}."
    )


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
