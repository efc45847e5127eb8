"""Whatever a file holds: either examples and an account that adds up, or a DataError."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cases import cases

from gemma_align.data.readers import FORMATS, read_file
from gemma_align.data.report import Ledger
from gemma_align.errors import DataError


def read(path, format_name="auto"):
    ledger = Ledger()
    items = read_file(path, format_name, "", ledger)
    return [item.example for item in items], ledger.sources[0]


def bytes_file(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


GOOD = b'{"prompt": "P"}\n'


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b" \n\n", "is empty"),
        ("a.jsonl", GOOD.decode().encode("utf-16"), "UTF-16"),
        ("a.jsonl", GOOD.decode().encode("utf-16-le"), "UTF-16"),
        ("a.jsonl", b"PK\x03\x04rest", "zip archive"),
        ("a.jsonl", b"PAR1rest", "parquet"),
        ("a.jsonl.gz", gzip.compress(GOOD * 100, mtime=0)[:40], "can't be read"),
        ("a.jsonl.gz", b"\x1f\x8b" + b"x" * 40, "can't be read"),
        ("a.json", b'[{"prompt": "P"},\n {"prompt": ', "line 2: not a valid JSON array"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b"prompt\nP\n", r"none of its 2 rows can be used as jsonl: not JSON \(2 rows\)"),
        ("a.csv", b"prompt,response\n", "none of its 0 rows"),
        ("a.csv", b"question,answer\na,b\n", "no known format has the columns"),
        ("a.csv", 'prompt\ncafé\n"naïve"\n'.encode("latin-1"), r"not UTF-8 \(2 rows\)"),
    ],
)
def test_unusable_files_say_why(tmp_path, name, data, says):
    with pytest.raises(DataError, match=says):
        read(bytes_file(tmp_path, name, data))


def test_a_missing_field_is_named_with_what_was_given(tmp_path):
    path = bytes_file(tmp_path, "a.csv", b"section_header,section_text,text\nCC,None,Hello there you two\n")
    with pytest.raises(DataError) as error:
        read(path, "mts_dialog")
    assert "no field 'dialogue' (1 rows)" in str(error.value)
    assert "Wanted columns: dialogue, section_header, section_text" in str(error.value)
    assert "given: section_header, section_text, text" in str(error.value)


def test_single_bad_rows_are_dropped_with_line_and_reason(tmp_path):
    lines = [
        b'{"prompt": "good"}',
        b"{broken",
        b'{"prompt": "caf\xe9"}',
        b'{"prompt": "lone \\ud800"}',
        b'["list"]',
        b'{"prompt": NaN}',
        b"",
        b'{"prompt": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"prompt": "' + b"x" * 10_000_000 + b'"}',
        b'{"prompt": "nul\x00s \\u0000and \\u0007bells", "response": "a\\r\\nb"}',
        b'{"prompt": "last", "checks": ' + b"9" * 5000 + b"}",
    ]
    examples, source = read(bytes_file(tmp_path, "a.jsonl", b"\n".join(lines)))
    assert [(e.prompt, e.response) for e in examples] == [("good", None), ("nuls and bells", "a\nb")]
    assert source.mended == {"control characters removed": 1}
    reasons = {problem.line: problem.reason for problem in source.problems}
    assert reasons == {
        2: "not JSON",
        3: "not UTF-8",
        4: "not UTF-8",
        5: "not a JSON object",
        6: "not JSON",
        8: "not JSON",
        9: "field too long",
        11: "not JSON",
    }


def test_bad_csv_rows_have_lines(tmp_path):
    huge = "y" * 10_000_000
    data = f'prompt,response\n"a\nb",r\nc\nd,"e" f\n{huge},r\ng,h\n"never closed,\n1,2\n3,4\n'
    examples, source = read(bytes_file(tmp_path, "a.csv", data.encode()))
    assert [e.prompt for e in examples] == ["a\nb", "g"]
    assert {p.line: p.reason for p in source.problems} == {
        4: "wrong number of columns",
        5: "broken csv",
        6: "field too long",
        8: "broken csv",
    }
    assert "lines 8 to 10" in source.problems[-1].detail  # what an unclosed quote swallowed is said


TEXTS = st.text(st.characters(exclude_categories=[]), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
COLUMNS = sorted({column for known in FORMATS.values() for columns in known.columns for column in columns})
ROWS = st.lists(JSON | st.dictionaries(st.sampled_from([*COLUMNS, "history", "id"]), JSON, max_size=8), max_size=5)
NAMES = st.sampled_from(["a.csv", "a.json", "a.jsonl", "a.csv.gz", "a"])
LENIENT = settings(max_examples=cases(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check_account(tmp_path, name, data, format_name):
    path = bytes_file(tmp_path, name, data)
    ledger = Ledger()
    try:
        items = read_file(path, format_name, "", ledger)
    except DataError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert str(path) in said
        return
    source = ledger.sources[0]
    assert items
    assert source.num_read == len(items) + sum(source.dropped.values())
    for item in items:
        json.dumps(item.example.checks)
        assert item.example.id
        assert item.example.prompt.strip()
        (item.example.prompt + (item.example.response or "")).encode()


@LENIENT
@given(NAMES, st.binary(max_size=200), st.sampled_from(["auto", *FORMATS]))
def test_any_bytes(tmp_path, name, data, format_name):
    check_account(tmp_path, name, data, format_name)


@LENIENT
@given(st.sampled_from(["a.json", "a.jsonl"]), ROWS, st.sampled_from(["auto", *FORMATS]))
def test_any_json_rows(tmp_path, name, rows, format_name):
    text = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows))
    check_account(tmp_path, name, text.encode(), format_name)


@LENIENT
@given(st.sampled_from(list(FORMATS)), st.lists(st.lists(TEXTS, min_size=1, max_size=5), max_size=5))
def test_any_csv_rows(tmp_path, format_name, rows):
    columns = sorted(FORMATS[format_name].columns[0])
    out = io.StringIO(newline="")
    csv.writer(out).writerows([columns, *(row[: len(columns)] for row in rows)])
    check_account(tmp_path, "a.csv", out.getvalue().encode("utf-8", "surrogatepass"), format_name)
