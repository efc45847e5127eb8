"""Files to rows: csv, JSON lines and JSON arrays, plain or gzip-compressed. Knows nothing of what the rows mean."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from gemma_align.data.report import BadRow
from gemma_align.errors import DataError

# A row is the line where it starts (from 1) and its fields, or the reason why it has none.
Row = tuple[int, dict[str, Any] | BadRow]

_OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a parquet file",
    b"%PDF": "a PDF",
    b"ARROW1": "an Arrow file",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MAX_BYTES = 4 * 2**30


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. `.csv` is comma-separated with a header; anything else is JSON lines or one JSON array.

    Raises DataError for what is no readable text at all, or holds nothing.
    """
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path} is empty: rows were wanted")
    names = [suffix.lower() for suffix in path.suffixes]
    if ".csv" in names:
        return _csv_rows(text)
    if text.lstrip().startswith("["):
        return _array_rows(text, path)
    return _json_lines(text)


def read_text(path: Path) -> str:
    """The file as text, unpacked if it is gzip. Bytes that are no UTF-8 become lone surrogates, found row by row."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as packed:
                raw = packed.read(_MAX_BYTES + 1)
            if len(raw) > _MAX_BYTES:
                raise DataError(f"{path} unpacks to over 4 GiB: split it")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    for magic, kind in _OTHER_KINDS.items():
        if raw.startswith(magic):
            raise DataError(f"{path} is {kind}: a csv, json or jsonl file (also .gz) was wanted")
    if raw.startswith(_UTF16) or raw[:4096].count(0) * 4 > len(raw[:4096]):
        raise DataError(f"{path} isn't UTF-8 text (UTF-16 or binary): save it as UTF-8")
    return raw.decode("utf-8-sig", errors="surrogateescape")


def _csv_rows(text: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # a long field is a row to report, not an error of the file
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, BadRow("broken csv", f"{error}, reading lines {line} to {max(line, reader.line_num)}")
            continue
        if not row:
            continue
        if header is None:
            header = [name.strip() for name in row]
        elif len(row) != len(header):
            yield line, BadRow("wrong number of columns", f"{len(row)}, where the header has {len(header)}")
        else:
            yield line, dict(zip(header, row, strict=True))


def _json_lines(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _parsed(line)


def _parsed(line: str) -> dict[str, Any] | BadRow:
    try:
        return _as_row(json.loads(line, parse_constant=_refuse, strict=False))
    except RecursionError:
        return BadRow("not JSON", "nested too deeply")
    except ValueError as error:
        return BadRow("not JSON", f"{error}; it starts {line.strip()[:40]!r}")


def _array_rows(text: str, path: Path) -> Iterator[Row]:
    """Elements one by one, so that each has its line. After a syntax error nothing can be found again."""
    decoder = json.JSONDecoder(parse_constant=_refuse, strict=False)
    at, line, seen = text.index("[") + 1, 1, 0
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at < len(text) and text[at] == "]":
            return
        line += text.count("\n", seen, at)
        seen = at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise DataError(f"{path}, line {line}: not a valid JSON array ({what})") from error
        yield line, _as_row(value)


def _as_row(value: Any) -> dict[str, Any] | BadRow:
    if isinstance(value, dict):
        return value
    return BadRow("not a JSON object", f"{json.dumps(value, default=str)[:60]}")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
