"""The update of a step of reinforcement learning (reference, forward, backward), against its own floor only.

2 prompts x 8 responses x 48 tokens, sampled from the model itself. Peers for it come with the methods.
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.children import Contestant, run
from benchmarks.floor import Group, floor_seconds, work
from benchmarks.rounds import alternate
from benchmarks.workloads.common import Bench, best, row

GROUP = "update"
NUM_PROMPTS = 2
NUM_SAMPLES = 8
NUM_TOKENS = 48
REPEATS = 3  # in each child, after one that isn't counted
MAX_TOKENS = 800  # a prompt and its 8 responses are one row: the longest has 392 + 8 x 48 tokens
PASSES = 3  # reference forward, forward, backward to the activations


def measure(bench: Bench) -> list[dict[str, Any]]:
    """One row of results.json."""
    shared = {
        "model": bench.prepared["model"],
        "adapter": bench.prepared["adapter"],
        "prompts": bench.prepared["prompts"][:NUM_PROMPTS],
        "num_samples": NUM_SAMPLES,
    }
    bench.say("update: sampling the responses")
    sampled = run(Contestant("responses", "ours_sampling", {**shared, "num_tokens": NUM_TOKENS, "head": "packed"}))
    job = {**shared, "responses": sampled.result["responses"], "repeats": REPEATS, "max_tokens": MAX_TOKENS}
    ours = Contestant("ours, update", "ours_update", job)
    if bench.profile:
        bench.run_profile(ours)
        return []
    runs = alternate([ours], bench.num_rounds, bench.say, repeat_disturbed=bench.repeat_disturbed)[ours.name]
    amount = work(bench.shape, [Group(len(prompt), (NUM_TOKENS,) * NUM_SAMPLES) for prompt in shared["prompts"]])

    def floor(rates: Mapping[str, Any]) -> float:
        return floor_seconds(amount, PASSES, best(rates["block_gflops"]), best(rates["head_gflops"]))

    size = f"{NUM_PROMPTS} prompts x {NUM_SAMPLES} responses x {NUM_TOKENS} tokens"
    extra = {
        "what": f"reference, forward and backward of {size}",
        "block_tokens": amount.block_tokens,
        "response_tokens": amount.head_tokens,
    }
    return [row(bench, GROUP, "update", ("exact", runs), None, floor, **extra)]
