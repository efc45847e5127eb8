"""DPO, whole steps of a batch of 8 pairs, against TRL's DPOTrainer: the same pairs, start and losses step by step.

Both compute the reference's log-probabilities of the pairs within the step. A pair is a note of MTS-Dialog against
itself with one fact made false. TRL runs in two ways that its documentation has, and the faster one is what the
targets speak of: all 8 pairs in one padded pass, as its defaults have it, and one pair a pass with the gradients added
up, which leaves almost no padding. A third has an allocator setting that helps the second further.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.children import FOLDER, Contestant, run
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Group, floor_seconds, work
from benchmarks.rounds import Timings, alternate, differing
from benchmarks.workloads.common import KEEP_MEMORY, Bench, Way, best, fastest_marked, row, version
from gemma_align.core.packing import common_beginning

GROUP = "dpo"
BATCH_SIZE = 8
LEARNING_RATE = 2e-4
BETA = 0.1
PASSES = 3  # reference, forward, backward to the activations
WAYS = {  # of TRL
    "8 pairs at once": Way({"at_once": 8}),
    "one pair at a time": Way({"at_once": 1}),
    "one pair at a time, freed memory kept": Way({"at_once": 1}, KEEP_MEMORY),
}
FIRST_TOLERANCE = 1e-4  # relative: the same weights on the same tokens
LATER_TOLERANCE = 5e-3  # after an update: Adam divides by the gradient's own size, so rounding grows
COMPARED = ("losses", "chosen", "rejected")  # at the start the loss is ln 2 whatever the model says; these aren't


def _job(bench: Bench, pairs: list[dict[str, Any]], batch_size: int, **more: Any) -> dict[str, Any]:
    return {
        "model": bench.prepared["model"],
        "adapter": bench.prepared["adapter"],
        "pairs": pairs,
        "batch_size": batch_size,
        "learning_rate": LEARNING_RATE,
        "beta": BETA,
        **more,
    }


def _ours(bench: Bench, pairs: list[dict[str, Any]], batch_size: int = BATCH_SIZE) -> Contestant:
    return Contestant("ours, dpo", "ours_dpo", _job(bench, pairs, batch_size, max_tokens=None))


def _trl(bench: Bench, how: str, pairs: list[dict[str, Any]], batch_size: int = BATCH_SIZE) -> Contestant:
    way = WAYS[how]
    at_once = min(way.job["at_once"], batch_size)
    job = _job(bench, pairs, batch_size, at_once=at_once, scratch=str(FOLDER / "trl"))
    return bench.peer(GROUP, f"TRL, dpo, {how}", "trl_dpo", job, **way.environment)


def _require_equal(how: str, ours: Mapping[str, Any], peer: Mapping[str, Any]) -> None:
    for name in COMPARED:
        tolerances = [FIRST_TOLERANCE] + [LATER_TOLERANCE] * (len(ours[name]) - 1)
        problem = differing(ours[name], peer[name], tolerances)
        if problem:
            raise BenchmarkError(f"DPO, {how}: ours and TRL differ in {name} ({problem}); no ratio is taken")


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Rows of results.json."""
    pairs = bench.prepared["pairs"]
    if bench.profile:
        bench.run_profile(_ours(bench, pairs))
        return []

    bench.say("dpo: equal losses and log-probabilities first, on the shortest pairs")
    few = sorted(pairs, key=lambda pair: sum(map(len, pair.values())))[:4]
    mine = run(_ours(bench, few, batch_size=2)).result
    for how in WAYS:
        _require_equal(how, mine, run(_trl(bench, how, few, batch_size=2)).result)

    contestants = [_ours(bench, pairs), *(_trl(bench, how, pairs) for how in WAYS)]
    runs = alternate(contestants, bench.num_rounds, bench.say, repeat_disturbed=bench.repeat_disturbed)
    for how in WAYS:
        for ours, theirs in zip(runs["ours, dpo"].results, runs[f"TRL, dpo, {how}"].results, strict=True):
            _require_equal(how, ours, theirs)
    return fastest_marked([_row(bench, how, runs) for how in WAYS])


def _group(pair: Mapping[str, list[int]]) -> Group:
    responses = [pair["chosen"], pair["rejected"]]
    return Group(len(pair["prompt"]), (len(responses[0]), len(responses[1])), len(common_beginning(responses)))


def _row(bench: Bench, how: str, runs: Mapping[str, Timings]) -> dict[str, Any]:
    pairs = bench.prepared["pairs"]
    amount = work(bench.shape, [_group(pair) for pair in pairs])
    steps = len(pairs) / BATCH_SIZE

    def floor(rates: Mapping[str, Any]) -> float:
        return floor_seconds(amount, PASSES, best(rates["block_gflops"]), best(rates["head_gflops"])) / steps

    mine, theirs = runs["ours, dpo"], runs[f"TRL, dpo, {how}"]
    return row(
        bench,
        GROUP,
        "dpo, a step",
        ("exact", mine),
        (f"TRL {version(theirs, 'trl')}, DPO, {how}", theirs),
        floor,
        what=f"a step of {BATCH_SIZE} pairs, the mean of {steps:g}: reference, forward, backward, update; LoRA r=8",
        block_tokens=amount.block_tokens,
        response_tokens=amount.head_tokens,
        losses={"ours": mine.results[0]["losses"], "peer": theirs.results[0]["losses"]},
        tolerance={"first": FIRST_TOLERANCE, "later": LATER_TOLERANCE},
        phases=mine.results[0]["phases"],
        peer_environment=WAYS[how].environment,
        documented=WAYS[how].documented,
    )
