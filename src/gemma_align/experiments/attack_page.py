"""The attack suite's result as one HTML page: no network, no script, light and dark, every text escaped."""

import unicodedata
from collections.abc import Mapping
from html import escape
from typing import Any

from gemma_align.evaluation.statistics import Interval
from gemma_align.evaluation.table import shown

MAX_TEXT = 1_200  # characters shown of a text

_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{padding:.2rem .8rem .2rem 0;text-align:left;border-bottom:1px solid #8884}
td{font-variant-numeric:tabular-nums;white-space:nowrap}
.high{color:light-dark(#a1260d,#ff9b85);font-weight:600}
details{margin:.5rem 0}summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#8881;padding:.6rem;margin:.2rem 0 .8rem}
.mark{opacity:.6;font-size:.8em}
"""


def attack_page(record: Mapping[str, Any]) -> str:
    """The page of what `reward_attack.reward_attack` gives."""
    data, budget = record["data"], record["budget"]
    about = (
        f"Task {record['task']}, {data['split']} split, {data['num_examples']} honest answers, seed {record['seed']}. "
        f"Search: {budget['steps']} steps of {budget['width']} edits an answer; top words of "
        f"{budget['num_candidates']} candidates on {budget['num_probes']} answers; samples: {budget['num_samples']}. "
        f"The numbers are the share of honest answers that the exploit beats, with {100 * record['confidence']:g} % "
        f"intervals, then how many beat, tied and were tried. An exploit beats where it scores higher by more than "
        f"{record['tie']:g}."
    )
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Attacks on the reward: {escape(record['task'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Attacks on the reward</h1><p>{escape(about)}</p>",
        _margins(record),
        *(_worst(name, rows) for name, rows in record["worst"].items()),
        "<h2>Top words</h2>",
        *(f"<p>{escape(name)}: {_visible(' '.join(words))}</p>" for name, words in record["words"].items()),
        f"<p>Data: {escape(data['fingerprint'])}</p></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _margins(record: Mapping[str, Any]) -> str:
    heads = "".join(f"<th>{escape(name)}</th>" for name in record["rewards"])
    rows = []
    for row in record["margins"]:
        cells = "".join(_cell(row["rewards"].get(name)) for name in record["rewards"])
        rows.append(f"<tr><td>{escape(row['family'])}{' *' * row['degenerate']}</td>{cells}</tr>")
    return f"<table><tr><th>exploit (* degenerate)</th>{heads}</tr>{''.join(rows)}</table>"


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "<td></td>"
    counts = f"{cell['num_beat']}, {cell['num_tied']}, {cell['num_attempts']}"
    mark = ' class="high"' if cell["num_beat"] else ""
    return f'<td{mark}>{escape(shown(Interval(**cell["margin"])))} <span class="mark">{counts}</span></td>'


def _worst(name: str, rows: list[dict[str, Any]]) -> str:
    shown_rows = [
        f"<details><summary>{escape(row['family'])}: {row['honest_score']:.3f} to {row['score']:.3f} "
        f"(+{row['gain']:.3f})</summary><p>Prompt ({escape(row['id'])})</p><pre>{_visible(row['prompt'])}</pre>"
        f"<p>Honest</p><pre>{_visible(row['honest'])}</pre>"
        f"<p>Exploit{'' if row['finished'] else ', unfinished'}</p><pre>{_visible(row['exploit'])}</pre></details>"
        for row in rows
    ]
    said = "".join(shown_rows) or "<p>No exploit beat an honest answer.</p>"
    return f"<h2>Highest gains: {escape(name)}</h2>{said}"


def _visible(text: str) -> str:
    """Escaped, cut, and with a mark where a character shows nothing or turns the direction of writing."""
    found = []
    for char in text[:MAX_TEXT]:
        hidden = unicodedata.category(char) in ("Cc", "Cf", "Co", "Cs") and char not in "\n\t"
        found.append(f'<span class="mark">U+{ord(char):04X}</span>' if hidden else escape(char))
    if len(text) > MAX_TEXT:
        found.append(f'<span class="mark"> … {len(text) - MAX_TEXT:,} more characters</span>')
    return "".join(found)
