"""results.json, and docs/performance.md made from it. Pure functions of rows, but for reading and writing the files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe_line
from benchmarks.targets import verdicts

RESULTS = Path(__file__).parent / "results.json"
NOTES = Path(__file__).parent / "notes.md"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
REQUIRED = (
    "workload",
    "peer",
    "ratio",
    "ours_seconds",
    "peer_seconds",
    "ours_peak_gb",
    "peer_peak_gb",
    "times_floor",
    "command",
)

Row = Mapping[str, Any]


def load(path: Path = RESULTS) -> list[dict[str, Any]]:
    """The rows so far.

    Raises:
        BenchmarkError: the file is not what this program writes.
    """
    if not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        lacking = [key for row in rows for key in (*REQUIRED, "group") if key not in row]
    except (ValueError, TypeError) as error:
        raise BenchmarkError(f"{path}: a JSON list of rows was wanted ({error}); mend or remove it") from error
    if lacking:
        raise BenchmarkError(f"{path}: rows lack {', '.join(sorted(set(lacking)))}; mend or remove it")
    return rows


def merge(old: Sequence[Row], new: Sequence[Row], order: Sequence[str]) -> list[Row]:
    """New rows replace all old ones of their groups; groups stand in the given order, unknown ones last."""
    replaced = {row["group"] for row in new}
    rows = [row for row in old if row["group"] not in replaced] + list(new)
    return sorted(rows, key=lambda row: order.index(row["group"]) if row["group"] in order else len(order))


def save(rows: Sequence[Row], path: Path = RESULTS) -> None:
    """As JSON that a diff can be read of."""
    path.write_text(json.dumps(_rounded(list(rows)), indent=1) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value


def number(value: float | None, digits: int = 3, unit: str = "") -> str:
    """For people; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}g}{unit}" if abs(value) < 1000 else f"{value:.0f}{unit}"


HEADINGS = ("workload", "ours", "peer", "ratio", "seconds", "peer's", "peak GB", "peer's", "x floor", "of rate")


def cells(row: Row) -> tuple[str, ...]:
    """One line of the table, under `HEADINGS`."""
    spread = row.get("ratio_range")
    ratio = number(row["ratio"], 3)
    if spread and row["ratio"] is not None:
        ratio += f" ({number(spread[0], 3)} to {number(spread[1], 3)})"
    mark = "" if row.get("quiet", True) else " *"
    return (
        row["workload"],
        row.get("ours", ""),
        row["peer"] or "–",
        ratio + mark,
        number(row["ours_seconds"]),
        number(row["peer_seconds"]),
        number(row["ours_peak_gb"]),
        number(row["peer_peak_gb"]),
        number(row["times_floor"]),
        number(None if not row["times_floor"] else 100 / row["times_floor"], 2, " %"),
    )


def table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """In markdown."""
    out = ["| " + " | ".join(headings) + " |", "| " + " | ".join("---" for _ in headings) + " |"]
    return "\n".join(out + ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines])


def render(rows: Sequence[Row], notes: str = "") -> str:
    """The page."""
    parts = [_HEADER, *_what(rows), table(HEADINGS, [cells(row) for row in rows])]
    if any(not row.get("quiet", True) for row in rows):
        parts.append("\\* taken while other work used the machine: not to be relied on.")
    parts.append(_READING)
    found = verdicts(rows)
    if found:
        lines = [(t.text, number(value), "met" if met else "missed") for t, value, met in found]
        parts += ["## Targets", table(("target", "measured", ""), lines)]
    if notes.strip():
        parts.append(notes.strip())
    parts += ["## Kernels", _KERNELS, table(("workload", "shape", *_kernel_names(rows)), _kernel_lines(rows))]
    parts += ["## What the peers ran with", *_settings(rows)]
    parts += ["## Machine and versions", *_machines(rows)]
    return "\n\n".join(parts) + "\n"


def write_page(rows: Sequence[Row], path: Path = PAGE, notes: Path = NOTES) -> None:
    """Writes the page; `notes` is what people have to say about it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = render(rows, notes.read_text(encoding="utf-8") if notes.exists() else "")
    path.write_text(text, encoding="utf-8")


def _what(rows: Sequence[Row]) -> list[str]:
    """One line a workload: what is done."""
    lines = {row["group"]: f"- **{row['group']}**: {row['what']}, {row.get('data')}." for row in rows if "what" in row}
    return ["\n".join(lines.values())] if lines else []


def _rate_sets(row: Row) -> list[tuple[str, Mapping[str, float]]]:
    """Shape and GFLOP/s by kernel."""
    rates = row.get("rates") or {}
    found = []
    for part in (rates, rates.get("decode", {}), rates.get("prefill", {})):
        for what in ("block", "head"):
            if f"{what}_gflops" in part:
                name = "MLP" if what == "block" else "head"
                found.append((f"{name}, {part[f'{what}_rows']} rows", part[f"{what}_gflops"]))
    return found


def _kernel_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for _, rates in _rate_sets(row) for name in rates))


def _kernel_lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    names, seen, lines = _kernel_names(rows), set(), []
    for row in rows:
        for shape, rates in _rate_sets(row):
            if (row["group"], shape) not in seen:
                seen.add((row["group"], shape))
                lines.append((row["group"], shape, *(number(rates.get(name)) for name in names)))
    return lines


def _pairs(settings: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} {value}" for key, value in settings.items())


def _settings(rows: Sequence[Row]) -> list[str]:
    """One paragraph a peer."""
    found: dict[str, str] = {}
    for row in rows:
        if row["peer"] and row["peer"] not in found and row.get("peer_settings"):
            extra = row.get("peer_environment")
            text = _pairs(row["peer_settings"]) + (f"; environment: {_pairs(extra)}" if extra else "")
            found[row["peer"]] = f"- **{row['peer']}**: {text}."
    return ["\n".join(found.values())] if found else []


def _machines(rows: Sequence[Row]) -> list[str]:
    lines = {}
    for row in rows:
        if "machine" in row:
            versions = _pairs(row.get("ours_versions") or {})
            lines[row["group"]] = (
                f"- **{row['group']}**: {describe_line(row['machine'])}; {row.get('date', '')}; "
                f"data {row.get('data')}; weights {row.get('checkpoint')}; {versions}; `{row['command']}`"
            )
    return ["\n".join(lines.values())] if lines else []


_HEADER = """# Performance

Speed and memory beside peers, on the same weights, tokens, batches and precision. This page and
`benchmarks/results.json`, which holds every timing, are written by `make bench`; `make bench ONLY=sft` measures one
group again. Don't edit it by hand: `benchmarks/notes.md` is where remarks go."""

_READING = """**How to read it.** *Ratio* is the peer's time over ours: medians over rounds in which everyone runs
once, one after the other, each in a process of its own; in brackets the lowest and highest ratio within
a round. Equal losses come first: SFT compares the loss of every update, DPO also the log-probabilities of
chosen and rejected; sampling has the peers compute again the log-probabilities that our sampler reports
for its tokens; of GRPO's and PPO's samples we compute those that the peer reports, and the scores, and both
draw the same number of tokens. Where anything differs no ratio is printed. *Seconds* leave out starting
Python and loading weights, on both sides. *Peak GB* is the most memory resident at once in the process's
life (10^9 bytes), weights and code included. A loaded machine is refused; a run during which other work took
more than 10 % of the cores is made again.

***x floor*** is our time over the least time that the useful arithmetic can take at the fastest matrix product this
process could measure; *of rate* is its inverse, the share of that rate spent on useful work:

    floor = tokens through the blocks x (0.2 GFLOP + attention) x passes / rate at the MLP's shapes
          + response tokens x 0.335 GFLOP x passes / rate at the head's shapes

A prompt counts once for all its responses, and so does what all of them begin with; padding not at all. Passes: SFT 2
(forward, backward to the activations), update and DPO 3 (reference, forward, backward), sampling 1; a step of GRPO is
sampling and an update, one of PPO sampling, the reference, 2 for each pass over the batch, and as many through the
blocks alone for the critic.
For the int8 head the floor is still that of float32, so it may pass below it."""

_KERNELS = """GFLOP/s of the same float32 product by kernel, in our process, at each workload's shapes. The peers'
PyTorch calls `F.linear`, which goes to Intel's MKL. On a processor with AVX-512 ours goes to oneDNN,
which ships in the same PyTorch and is much faster where MKL has no tuned kernels (AMD's): that part of
a ratio comes from choosing a kernel, so on an Intel processor expect the ratios to be smaller by about
the quotient of these columns. With AVX2 alone ours takes MKL for wide gradients and oneDNN for the rest
(`core/matmul.py`).
llama.cpp brings its own kernels, compiled for the machine."""
