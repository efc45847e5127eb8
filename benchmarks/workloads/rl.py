"""Whole steps of GRPO and PPO against TRL: 2 prompts x 8 responses x 48 tokens sampled, scored, and learnt from.

Both sides hold the policy against the reference, have the same reward function, and let no response end early. Samples
differ, so instead of losses: the peer's own first rollouts get the same log-probabilities and scores from us, and in
every run both draw the same number of tokens and start without a divergence. Losses and gradients on the same rollouts
are compared in tests/agreement.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.children import FOLDER, Contestant, run
from benchmarks.errors import BenchmarkError
from benchmarks.floor import Group, Shape, floor_seconds, sampling_floor_seconds, work
from benchmarks.rounds import Timings, alternate
from benchmarks.workloads.common import KEEP_MEMORY, Bench, Way, best, fastest_marked, row, version

NUM_PROMPTS = 2
NUM_SAMPLES = 8
NUM_TOKENS = 48
LEARNING_RATE = 2e-4
KL_COEF = 0.05
MAX_TOKENS = 800  # as configs/grpo_rl_270m.yml: a prompt and its 8 responses are one row
LOGPROB_TOLERANCE = 2e-3  # nats, of a response's mean token: float32 against float32
SCORE_TOLERANCE = 1e-6
KL_TOLERANCE = 1e-3  # nats a token, of the first rollouts: the policy is its reference


@dataclass(frozen=True, slots=True)
class Method:
    """One method, and how TRL runs it.

    num_steps   in each child; seconds are their mean
    num_passes  over each batch of rollouts
    peer        TRL's program
    ways        its settings by their name in the table; the fastest documented one is what the targets speak of
    """

    name: str
    num_steps: int
    num_passes: int
    peer: str
    ways: Mapping[str, Way]


GRPO = Method(
    "grpo",
    2,
    1,
    "trl_grpo",
    {
        "16 responses at once": Way({"at_once": 16}),
        "4 at a time": Way({"at_once": 4}),
        "4 at a time, freed memory kept": Way({"at_once": 4}, KEEP_MEMORY),
    },
)
# It makes the logits of every place, prompts and all: 0.5 GB a response, several times over in an update. All 16 are
# sampled side by side, which the reference's pass has to follow.
_FOUR = {"at_once": 4, "rollout_at_once": 16}
PPO = Method(
    "ppo",
    1,
    4,
    "trl_ppo",
    {"4 responses at a time": Way(_FOUR), "4 responses at a time, freed memory kept": Way(_FOUR, KEEP_MEMORY)},
)


def _job(bench: Bench, method: Method, **changes: Any) -> dict[str, Any]:
    return {
        "method": method.name,
        "model": bench.prepared["model"],
        "adapter": bench.prepared["adapter"],
        "prompts": bench.prepared["prompts"][:NUM_PROMPTS],
        "num_samples": NUM_SAMPLES,
        "num_tokens": NUM_TOKENS,
        "num_steps": method.num_steps,
        "num_passes": method.num_passes,
        "learning_rate": LEARNING_RATE,
        "kl_coef": KL_COEF,
        **changes,
    }


def _ours(bench: Bench, method: Method) -> Contestant:
    return Contestant(f"ours, {method.name}", "ours_rl", _job(bench, method, max_tokens=MAX_TOKENS))


def _trl(bench: Bench, method: Method, how: str, **changes: Any) -> Contestant:
    way = method.ways[how]
    job = _job(bench, method, scratch=str(FOLDER / "trl"), **{"tell": False, **way.job, **changes})
    return bench.peer(method.name, f"TRL, {method.name}, {how}", method.peer, job, **way.environment)


def _check(bench: Bench, method: Method) -> None:
    """Raises BenchmarkError where the peer's first rollouts are worth something else to us than to it."""
    prompts = sorted(bench.prepared["prompts"], key=len)[:NUM_PROMPTS]
    small = {"prompts": prompts, "num_samples": 2, "num_tokens": 8, "num_steps": 1, "num_passes": 1}
    for how in method.ways:
        rollouts = run(_trl(bench, method, how, **small, at_once=2, tell=True)).result["rollouts"]
        job = _job(bench, method, prompts=prompts, rollouts=rollouts)
        problem = disagreement(rollouts, run(Contestant(f"{method.name}, scored", "ours_scoring", job)).result)
        if problem:
            raise BenchmarkError(f"{method.name}, {how}: {problem}; no ratio is taken")


def disagreement(rollouts: list[dict[str, Any]], ours: Mapping[str, Any]) -> str | None:
    """What the peer and we say otherwise of the peer's rollouts; None where we agree."""
    for what, name, allowed in (("logprob", "logprobs", LOGPROB_TOLERANCE), ("score", "scores", SCORE_TOLERANCE)):
        pairs = [(rollout[what], mine) for rollout, mine in zip(rollouts, ours[name], strict=True)]
        gap, theirs, mine = max((abs(a - b), a, b) for a, b in pairs)
        if not gap <= allowed:
            return f"a {what} of the peer's rollouts is {theirs:.6f} to it and {mine:.6f} to us ({allowed:.0e} allowed)"
    return None


def unequal_work(results: Mapping[str, Timings], tokens: int) -> str | None:
    """Who drew another number of tokens, or began with a policy that wasn't its reference; None where nobody did."""
    for name, timings in results.items():
        for result in timings.results:
            if result["tokens"] != tokens:
                return f"{name} drew {result['tokens']} tokens instead of {tokens}"
            if not abs(float(str(result["kl"]))) <= KL_TOLERANCE:
                return f"{name} began {result['kl']} nats a token from its reference ({KL_TOLERANCE:.0e} is allowed)"
    return None


def floor_of_step(
    shape: Shape, groups: list[Group], rates: Mapping[str, Any], num_passes: int, *, critic: bool
) -> float:
    """Seconds: sampling; the reference; forward and backward of each pass. A critic has a pass of its own for each of
    the policy's, without the head, and one for the values that the advantages come from."""
    amount, decode = work(shape, groups), rates["decode"]
    rate, head_rate = best(rates["block_gflops"]), best(rates["head_gflops"])
    seconds = sampling_floor_seconds(
        shape,
        groups,
        prefill_rate=best(rates["prefill"]["block_gflops"]),
        decode_rate=best(decode["block_gflops"]),
        head_rate=best(decode["head_gflops"]),
    )
    passes = 1 + 2 * num_passes
    seconds += floor_seconds(amount, passes, rate, head_rate)
    return seconds + (floor_seconds(replace(amount, head_flops=0), passes, rate, head_rate) if critic else 0.0)


def measure(bench: Bench, method: Method) -> list[dict[str, Any]]:
    """Rows of results.json."""
    if bench.profile:
        bench.run_profile(_ours(bench, method))
        return []
    bench.say(f"{method.name}: equal log-probabilities and scores of the peer's rollouts first")
    _check(bench, method)
    contestants = [_ours(bench, method), *(_trl(bench, method, how) for how in method.ways)]
    runs = alternate(contestants, bench.num_rounds, bench.say, repeat_disturbed=bench.repeat_disturbed)
    problem = unequal_work(runs, NUM_PROMPTS * NUM_SAMPLES * NUM_TOKENS)
    if problem:
        raise BenchmarkError(f"{method.name}: {problem}; no ratio is taken")
    return fastest_marked([_row(bench, method, how, runs) for how in method.ways])


def _row(bench: Bench, method: Method, how: str, runs: Mapping[str, Timings]) -> dict[str, Any]:
    groups = [Group(len(prompt), (NUM_TOKENS,) * NUM_SAMPLES) for prompt in bench.prepared["prompts"][:NUM_PROMPTS]]
    mine, theirs = runs[f"ours, {method.name}"], runs[f"TRL, {method.name}, {how}"]

    def floor(rates: Mapping[str, Any]) -> float:
        return floor_of_step(bench.shape, groups, rates, method.num_passes, critic=method is PPO)

    size = f"{NUM_PROMPTS} prompts x {NUM_SAMPLES} responses x {NUM_TOKENS} tokens"
    learnt = "one pass" if method.num_passes == 1 else f"{method.num_passes} passes"
    return row(
        bench,
        method.name,
        f"{method.name}, a step",
        ("exact", mine),
        (f"TRL {version(theirs, 'trl')}, {method.name.upper()}, {how}", theirs),
        floor,
        what=f"a whole step of {size}: sampling, reference, scores, {learnt} of updates; LoRA r=8",
        tokens=mine.results[0]["tokens"],
        kl={"ours": mine.results[0]["kl"], "peer": theirs.results[0]["kl"]},
        tolerance={"logprobs": LOGPROB_TOLERANCE, "kl": KL_TOLERANCE},
        phases=mine.results[0]["phases"],
        peer_environment=method.ways[how].environment,
        documented=method.ways[how].documented,
    )


grpo = partial(measure, method=GRPO)
ppo = partial(measure, method=PPO)
