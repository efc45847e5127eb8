"""SFT, one whole epoch, against TRL's SFTTrainer: the same batches, the same start, the same losses step by step.

Twice, because TRL is fastest in two ways and the batches have to be the same for both sides:

- batches by length: what TRL's `group_by_length` gives for so few examples. The fastest that its documentation
  offers for a CPU (tried: in the order drawn, 1.8 times the padded tokens; eager attention: no difference).
- batches as drawn, without padding: `padding_free`, which TRL documents for FlashAttention only. With transformers'
  sdpa attention it computes the same losses, so it is measured too, with an allocator setting that helps it further.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.children import FOLDER, Contestant, run
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Group, floor_seconds, work
from benchmarks.rounds import Timings, alternate, differing
from benchmarks.workloads.common import KEEP_MEMORY, Bench, best, row, version

GROUP = "sft"
BATCH_SIZE = 8
LEARNING_RATE = 2e-4
FIRST_TOLERANCE = 1e-4  # relative: the same weights on the same tokens
LATER_TOLERANCE = 5e-3  # after updates: Adam divides by the gradient's own size, so rounding grows

BY_LENGTH, AS_DRAWN = "batches by length", "batches as drawn"


def _job(bench: Bench, examples: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "model": bench.prepared["model"],
        "adapter": bench.prepared["adapter"],
        "examples": examples,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "max_steps": None,
        **more,
    }


def _ours(bench: Bench, order: str, examples: list[dict[str, Any]]) -> Contestant:
    return Contestant(f"ours, {order}", "ours_sft", _job(bench, examples, max_tokens=None))


def _trl(bench: Bench, order: str, examples: list[dict[str, Any]]) -> Contestant:
    free = order == AS_DRAWN
    job = _job(bench, examples, options={"padding_free": True} if free else {}, scratch=str(FOLDER / "trl"))
    return bench.peer(GROUP, f"TRL, {order}", "trl_sft", job, **(KEEP_MEMORY if free else {}))


def _require_equal(order: str, ours: Mapping[str, Any], peer: Mapping[str, Any]) -> None:
    tolerances = [FIRST_TOLERANCE] + [LATER_TOLERANCE] * (len(ours["losses"]) - 1)
    problem = differing(ours["losses"], peer["losses"], tolerances)
    if problem:
        raise BenchmarkError(f"SFT, {order}: ours and TRL have different losses ({problem}); no ratio is taken")


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Rows of results.json."""
    drawn = bench.prepared["examples"]
    longest_first = sorted(drawn, key=lambda e: -len(e["prompt"]) - len(e["response"]))
    orders = {BY_LENGTH: longest_first, AS_DRAWN: drawn}
    if bench.profile:
        bench.run_profile(_ours(bench, AS_DRAWN, drawn))
        return []

    bench.say("sft: equal losses first, on the shortest batch")
    for order in orders:
        few = longest_first[-BATCH_SIZE:]
        _require_equal(order, run(_ours(bench, order, few)).result, run(_trl(bench, order, few)).result)

    contestants = [make(bench, order, examples) for order, examples in orders.items() for make in (_ours, _trl)]
    runs = alternate(contestants, bench.num_rounds, bench.say, repeat_disturbed=bench.repeat_disturbed)
    for order in orders:
        for mine, theirs in zip(runs[f"ours, {order}"].results, runs[f"TRL, {order}"].results, strict=True):
            _require_equal(order, mine, theirs)
    return [_row(bench, order, runs) for order in orders]


def _row(bench: Bench, order: str, runs: Mapping[str, Timings]) -> dict[str, Any]:
    examples = bench.prepared["examples"]
    amount = work(bench.shape, [Group(len(e["prompt"]), (len(e["response"]),)) for e in examples])

    def floor(rates: Mapping[str, Any]) -> float:
        return floor_seconds(amount, 2, best(rates["block_gflops"]), best(rates["head_gflops"]))

    mine, theirs = runs[f"ours, {order}"], runs[f"TRL, {order}"]
    how = "" if order == BY_LENGTH else ", padding-free"
    return row(
        bench,
        GROUP,
        f"sft, {order}",
        ("exact", mine),
        (f"TRL {version(theirs, 'trl')}{how}", theirs),
        floor,
        what=f"LoRA r=8 on q_proj and v_proj, {len(examples)} examples, batch {BATCH_SIZE}, one whole epoch",
        documented=order == BY_LENGTH,
        block_tokens=amount.block_tokens,
        response_tokens=amount.head_tokens,
        losses={"ours": mine.results[0]["losses"], "peer": theirs.results[0]["losses"]},
        tolerance={"first": FIRST_TOLERANCE, "later": LATER_TOLERANCE},
        phases=mine.results[0]["phases"],
        peer_environment=KEEP_MEMORY if order == AS_DRAWN else {},
    )
