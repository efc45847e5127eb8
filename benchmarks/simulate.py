"""Do the statistics of docs/statistics.md keep what they promise? Simulated studies whose truth is known.

python -m benchmarks.simulate            writes docs/results/simulation.json and the page again (`make simulate`)
python -m benchmarks.simulate --render   the page alone

In all of them nothing differs between the methods: an interval of a difference should hold 0, and a winner is a false
one. A value is the sum of an example's effect, an effect of method and example, a seed's effect, and noise of seed and
example; its variance is 1, of which `share` is the seed's. A 0/1 value says whether that sum lies under a threshold.
"""

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri, stdtrit

from benchmarks.simulation_page import KEPT, write_page
from gemma_align.evaluation import statistics
from gemma_align.evaluation.crossed import Contrast, contrast
from gemma_align.evaluation.multiplicity import holm
from gemma_align.evaluation.statistics import paired_interval

ALPHA = 0.05
EXAMPLE, OWN = 0.5, 0.2  # of what isn't the seed's: variance that methods share by example, and that they don't
CHUNK = 200  # studies at a time
NUM_COVERAGE, NUM_STUDIES, NUM_RUN_STUDIES = 10_000, 10_000, 2_000

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of study.

    values   "normal", or the rate of ones
    seeds    of each method
    spreads  how many times as far each method's seeds lie apart as `share` says; bimodal: they lie on two points
    """

    values: str
    seeds: tuple[int, ...]
    num_examples: int
    share: float
    spreads: tuple[float, ...] = ()
    bimodal: bool = False

    def rng(self, salt: str = "") -> np.random.Generator:
        """Of its own, whatever is simulated beside it."""
        return np.random.default_rng(zlib.crc32(f"{self}{salt}".encode()))


def draw(cell: Cell, num: int, rng: np.random.Generator) -> list[Array]:
    """One (num, S, n) array for each method."""
    n, rest = cell.num_examples, 1 - cell.share
    shared = rng.standard_normal((num, 1, n)) * np.sqrt(rest * EXAMPLE)
    drawn = []
    for count, spread in zip(cell.seeds, cell.spreads or (1.0,) * len(cell.seeds), strict=True):
        own = rng.standard_normal((num, 1, n)) * np.sqrt(rest * OWN)
        noise = rng.standard_normal((num, count, n)) * np.sqrt(rest * (1 - EXAMPLE - OWN))
        of_seed = rng.standard_normal((num, count, 1))
        if cell.bimodal:
            of_seed = np.sign(of_seed)
        total = shared + own + noise + of_seed * spread * np.sqrt(cell.share)
        drawn.append(total if cell.values == "normal" else (total < _threshold(cell, spread)).astype(np.float64))
    return drawn


def _threshold(cell: Cell, spread: float) -> float:
    """Under which the wanted share of the values lies, whatever the seed's part of their variance."""
    return float(ndtri(float(cell.values)) * np.sqrt(1 - cell.share + cell.share * spread**2))


def coverage(cell: Cell, num: int = NUM_COVERAGE) -> dict[str, float]:
    """How often the interval of the difference of two methods holds 0, and how wide it is beside the best possible,
    1.96 true standard errors to each side; the same of Satterthwaite's and of the interval over examples alone."""
    rng = cell.rng()
    held: dict[str, list[Array]] = {"crossed": [], "satterthwaite": [], "examples_only": []}
    differences, halves, shares = [], [], []
    for start in range(0, num, CHUNK):
        found = contrast(*draw(cell, min(CHUNK, num - start), rng))
        half = found.half_width(ALPHA)
        examples_only = stdtrit(found.examples_df, 1 - ALPHA / 2) * np.sqrt(found.examples_all)
        for name, width in (
            ("crossed", half),
            ("satterthwaite", _satterthwaite(found)),
            ("examples_only", examples_only),
        ):
            held[name].append(np.abs(found.difference) <= width)
        differences.append(found.difference)
        halves.append(half)
        shares.append(found.seed_share)
    far = np.concatenate(differences)
    result = {name: float(np.concatenate(parts).mean()) for name, parts in held.items()}
    return result | {
        "width": float(np.concatenate(halves).mean() / (1.96 * far.std())),
        "seed_share": float(np.concatenate(shares).mean()),
    }


def _satterthwaite(found: Contrast) -> Array:
    return stdtrit(found.satterthwaite_df(), 1 - ALPHA / 2) * found.error


def false_winners(cell: Cell, num: int = NUM_STUDIES, num_measures: int = 1) -> dict[str, float]:
    """Share of studies that name any winner: all pairs of methods, and all methods against a given base model.

    A study names a winner where the smallest of its m p-values is at most alpha / m, which is Holm's first step.
    """
    rng = cell.rng("winners")
    pairs = list(combinations(range(len(cell.seeds)), 2))
    spreads = cell.spreads or (1.0,) * len(cell.seeds)
    with_base = replace(cell, seeds=(*cell.seeds, 1), spreads=(*spreads, 0.0))
    named: dict[str, list[Array]] = {"pairs": [], "base": []}
    for start in range(0, num, CHUNK):
        size = min(CHUNK, num - start)
        any_pair, any_base = np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        for _ in range(num_measures):
            *methods, base = draw(with_base, size, rng)
            for a, b in pairs:
                any_pair |= _named(contrast(methods[a], methods[b]), len(pairs) * num_measures)
            for method in methods:
                any_base |= _named(contrast(method, base, b_trained=False), len(methods) * num_measures)
        named["pairs"].append(any_pair)
        named["base"].append(any_base)
    return {name: float(np.concatenate(parts).mean()) for name, parts in named.items()}


def _named(found: Contrast, num_tests: int) -> NDArray[np.bool_]:
    return np.abs(found.difference) > found.half_width(ALPHA / num_tests)


def false_winners_of_runs(values: str, num_examples: int, num: int = NUM_RUN_STUDIES) -> dict[str, float]:
    """The same for statements about four given runs: `paired_interval`'s p-values, all six pairs, Holm."""
    rng = np.random.default_rng(zlib.crc32(f"runs {values} {num_examples}".encode()))
    cell = Cell("normal", (1,) * 4, num_examples, 0.0)
    resamples, statistics.NUM_RESAMPLES = statistics.NUM_RESAMPLES, 999
    try:
        wrong = 0
        for study in range(num):
            pairs = list(combinations([_RUN_VALUES[values](method[0, 0]) for method in draw(cell, 1, rng)], 2))
            if values[:2] != "0." and min(stats.ttest_rel(a, b).pvalue for a, b in pairs) * len(pairs) > ALPHA:
                continue  # p is at least Student's t's: no need to resample
            tested = [paired_interval(a, b, seed=study) for a, b in pairs]
            p = holm([1.0 if t.p is None else t.p for t in tested])
            wrong += any(c <= ALPHA and t.excludes_zero for c, t in zip(p, tested, strict=True))
    finally:
        statistics.NUM_RESAMPLES = resamples
    return {"pairs": wrong / num}


_RUN_VALUES: dict[str, Callable[[Array], Array]] = {
    "normal": lambda x: x,
    "lognormal": np.exp,
    "counts, 0.3 on average": lambda x: np.searchsorted([0.7408, 0.9631, 0.9964], ndtr(x)).astype(np.float64),
    "0 but for one in ten": lambda x: np.where(x > ndtri(0.9), ndtr(x), 0.0),
    "0.5": lambda x: (x < 0).astype(np.float64),
    "0.1": lambda x: (x < ndtri(0.1)).astype(np.float64),
}

SEEDS, EXAMPLES, SHARES = ((3, 3), (5, 5), (3, 5)), (150, 500), (0.0, 0.002, 0.01, 0.1, 0.5)
VALUES = ("normal", "0.5", "0.1")
COVERAGE = [Cell(v, s, n, share) for v, s, n, share in product(VALUES, SEEDS, EXAMPLES, SHARES)] + [
    Cell("normal", s, 150, share, spreads=spreads)
    for s, share, spreads in product(SEEDS, SHARES[2:], ((1.0, 3.0), (1.0, 0.0)))
]
"""Two methods; the last ones with seeds that lie further apart for one, or for one alone."""
BIMODAL = [Cell("normal", s, 150, share, bimodal=True) for s, share in product(((3, 3), (5, 5)), (0.01, 0.1))]
"""Training that works or fails."""
WINNERS = [
    Cell(v, s, n, share)
    for v, s, n, share in product(
        VALUES, ((3, 3, 3, 3), (5, 5, 5, 5), (3, 3, 5, 5)), EXAMPLES, (0.0, 0.002, 0.01, 0.1, 0.5)
    )
] + [
    Cell("normal", (s,) * 4, 150, share, spreads=(1.0, 0.0, 0.0, 0.0)) for s, share in product((3, 5), (0.01, 0.1, 0.5))
]
WINNERS += [Cell("normal", (s,) * 4, 150, share, bimodal=True) for s, share in product((3, 5), (0.01, 0.1))]
RUNS = list(product(_RUN_VALUES, (50, *EXAMPLES)))


def _job(job: tuple[str, Any]) -> dict[str, Any]:
    kind, what = job
    if kind == "runs":
        return {"kind": kind, "values": what[0], "num_examples": what[1], **false_winners_of_runs(*what)}
    work: Callable[[Cell], dict[str, float]] = false_winners if kind == "winners" else coverage
    return {"kind": kind, **asdict(what), **work(what)}


def simulate(processes: int) -> list[dict[str, Any]]:
    jobs = [("runs", r) for r in RUNS] + [("winners", c) for c in WINNERS]
    jobs += [("coverage", c) for c in COVERAGE + BIMODAL]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(_job, jobs))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--render", action="store_true", help="write the page again, simulate nothing")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    if not options.render:
        begun = time.monotonic()
        rows = simulate(options.processes)
        document = {
            "command": "make simulate",
            "num_coverage": NUM_COVERAGE,
            "num_studies": NUM_STUDIES,
            "num_run_studies": NUM_RUN_STUDIES,
            "rows": [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows],
        }
        KEPT.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
        print(f"{len(rows)} cells in {time.monotonic() - begun:.0f} s: {KEPT}", file=sys.stderr)
    write_page()


if __name__ == "__main__":
    main()
