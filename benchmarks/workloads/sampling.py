"""Sampling 48 tokens a row, 8 samples a prompt, against transformers' `generate` and llama.cpp.

Nothing stops early and nothing is cut off the distribution, so everyone draws the same number of tokens. Equal
losses first: the log-probabilities our sampler reports for its own tokens are computed again by each peer.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.children import Contestant, run
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Group, sampling_floor_seconds
from benchmarks.rounds import Timings, alternate
from benchmarks.workloads.common import Bench, best, row, version

GROUP = "sampling"
NUM_SAMPLES = 8
NUM_TOKENS = 48
EXACT_TOLERANCE = 2e-3  # nats, of a row's mean log-probability: float32 against float32
ROUNDED_TOLERANCE = 5e-2  # nats, of the mean over all rows, where one side has 8-bit weights

EXACT, INT8 = "exact", "int8 head"
GENERATE, PLAIN = "transformers generate, prompt shared", "transformers generate"
LLAMA_F32, LLAMA_Q8 = "llama.cpp float32", "llama.cpp q8_0"


def _ours(bench: Bench, prompts: int, name: str) -> Contestant:
    job = {
        "model": bench.prepared["model"],
        "adapter": bench.prepared["adapter"],
        "prompts": bench.prepared["prompts"][:prompts],
        "num_samples": NUM_SAMPLES,
        "num_tokens": NUM_TOKENS,
        "head": "int8" if name == INT8 else "packed",
    }
    return Contestant(f"ours, {name}, {prompts * NUM_SAMPLES} rows", "ours_sampling", job)


def _peer(bench: Bench, prompts: int, name: str, responses: list[list[int]] | None = None) -> Contestant:
    job: dict[str, Any] = {
        "prompts": bench.prepared["prompts"][:prompts],
        "num_samples": NUM_SAMPLES,
        "num_tokens": NUM_TOKENS,
        "responses": responses,
    }
    label = f"{name}, {prompts * NUM_SAMPLES} rows"
    if name in (GENERATE, PLAIN):
        job |= {"model": bench.prepared["model"], "cache": None, "shared_prompt": name == GENERATE}
        return bench.peer(GROUP, label, "transformers_sampling", job)
    kind, kv = ("f32", "f32") if name == LLAMA_F32 else ("q8_0", "f16")
    job |= {"gguf": bench.gguf[kind], "weights": kind, "kv": kv, "threads": bench.threads}
    return bench.peer(GROUP, label, "llama_cpp_sampling", job)


def peers(bench: Bench) -> tuple[str, ...]:
    """llama.cpp takes part only where its files hold the weights that are measured."""
    own = (GENERATE,)
    return (*own, LLAMA_F32, LLAMA_Q8) if bench.checkpoint == "bundled:gemma-3-270m" else own


def _check(bench: Bench) -> None:
    """Raises BenchmarkError where a peer gives our samples other log-probabilities than we do."""
    prompts = min(bench.batch_sizes)
    for name in (EXACT, INT8):
        drawn = run(_ours(bench, prompts, name)).result
        for peer in peers(bench):
            scored = run(_peer(bench, prompts, peer, drawn["responses"])).result["logprobs"]
            exact = name == EXACT and peer != LLAMA_Q8
            gaps = [abs(a - b) for a, b in zip(drawn["logprobs"], scored, strict=True)]
            gap = max(gaps) if exact else abs(sum(drawn["logprobs"]) - sum(scored)) / len(scored)
            allowed = EXACT_TOLERANCE if exact else ROUNDED_TOLERANCE
            bench.say(f"  {name} against {peer}: {gap:.1e} nats apart, {allowed:.0e} allowed")
            if not gap <= allowed:
                raise BenchmarkError(
                    f"sampling, {name}: {peer} gives our samples log-probabilities that are {gap:.3g} nats from ours "
                    f"({allowed:.0e} is allowed); no ratio is taken"
                )


def measure(bench: Bench) -> list[dict[str, Any]]:
    """Rows of results.json."""
    if bench.profile:
        bench.run_profile(_ours(bench, min(bench.batch_sizes), EXACT))
        return []
    bench.say("sampling: equal log-probabilities first")
    _check(bench)
    rows = []
    for prompts in bench.batch_sizes:
        names = peers(bench) + ((PLAIN,) if prompts == min(bench.batch_sizes) else ())
        contestants = [_ours(bench, prompts, EXACT), _ours(bench, prompts, INT8)]
        contestants += [_peer(bench, prompts, name) for name in names]
        runs = alternate(contestants, bench.num_rounds, bench.say, repeat_disturbed=bench.repeat_disturbed)
        found = {c.name.rpartition(", ")[0].removeprefix("ours, "): runs[c.name] for c in contestants}
        _require_same_work(found)
        rows += [_row(bench, prompts, ours, peer, found) for ours, peer in _pairs(names)]
    return rows


def _pairs(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Which of ours is set against which peer."""
    exact = [(EXACT, name) for name in names if name != LLAMA_Q8]
    return exact + [(INT8, name) for name in names if name != LLAMA_F32]


def _require_same_work(runs: Mapping[str, Timings]) -> None:
    tokens = {name: {result["tokens"] for result in timings.results} for name, timings in runs.items()}
    if len(set().union(*tokens.values())) != 1:
        raise BenchmarkError(f"sampling: not everyone drew the same number of tokens ({tokens}); no ratio is taken")


def _row(bench: Bench, prompts: int, ours: str, peer: str, runs: Mapping[str, Timings]) -> dict[str, Any]:
    groups = [Group(len(prompt), (NUM_TOKENS,) * NUM_SAMPLES) for prompt in bench.prepared["prompts"][:prompts]]

    def floor(rates: Mapping[str, Any]) -> float:
        decode = rates["decode"]
        return sampling_floor_seconds(
            bench.shape,
            groups,
            prefill_rate=best(rates["prefill"]["block_gflops"]),
            decode_rate=best(decode["block_gflops"]),
            head_rate=best(decode["head_gflops"]),
        )

    mine, theirs = runs[ours], runs[peer]
    package = "transformers" if peer in (GENERATE, PLAIN) else "llama-cpp-python"
    rows = prompts * NUM_SAMPLES
    return row(
        bench,
        GROUP,
        f"sampling, {rows} rows",
        (ours, mine),
        (f"{peer} ({version(theirs, package)})", theirs),
        floor,
        what=f"{NUM_SAMPLES} samples of {NUM_TOKENS} tokens a prompt, temperature 1, nothing cut off, no stop tokens",
        rows=rows,
        peer_key=peer,
        ours_tokens_per_second=rows * NUM_TOKENS / mine.median,
        peer_tokens_per_second=rows * NUM_TOKENS / theirs.median,
        tolerance={"exact": EXACT_TOLERANCE, "rounded": ROUNDED_TOLERANCE},
    )
