"""All contestants in turn, round after round, so that a machine that slows down slows all of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.children import Contestant, Run, run
from benchmarks.machine import MAX_OTHERS

MAX_REPEATS = 2  # of a disturbed run, before it is kept and marked


@dataclass(frozen=True, slots=True)
class Timings:
    """Every run of one contestant, in the order of the rounds."""

    seconds: tuple[float, ...]
    peaks_gb: tuple[float, ...]
    others: tuple[float | None, ...]
    results: tuple[dict[str, object], ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def peak_gb(self) -> float:
        """The highest of all runs."""
        return max(self.peaks_gb)

    @property
    def quiet(self) -> bool:
        return all(share is None or share <= MAX_OTHERS for share in self.others)


def collect(runs: Sequence[Run]) -> Timings:
    """The runs of one contestant."""
    return Timings(
        seconds=tuple(float(r.result["seconds"]) for r in runs),
        peaks_gb=tuple(r.peak_gb for r in runs),
        others=tuple(r.others for r in runs),
        results=tuple(r.result for r in runs),
    )


def alternate(
    contestants: Sequence[Contestant],
    num_rounds: int,
    say: Callable[[str], None],
    *,
    runner: Callable[[Contestant], Run] = run,
    repeat_disturbed: bool = True,
) -> dict[str, Timings]:
    """Runs each contestant once a round; every second round goes backwards, so that none is always the warm one.

    A run during which other work took more than its share is made again, at most twice.
    """
    runs: dict[str, list[Run]] = {c.name: [] for c in contestants}
    for number in range(num_rounds):
        for contestant in contestants if number % 2 == 0 else tuple(reversed(contestants)):
            for attempt in range(MAX_REPEATS + 1):
                done = runner(contestant)
                disturbed = done.others is not None and done.others > MAX_OTHERS
                share = "" if done.others is None else f", others {done.others:.0%} of the cores"
                say(
                    f"round {number + 1}/{num_rounds}  {contestant.name}: {done.result['seconds']:.2f} s, "
                    f"peak {done.peak_gb:.2f} GB{share}"
                )
                if not (disturbed and repeat_disturbed and attempt < MAX_REPEATS):
                    break
                say("  disturbed: once more")
            runs[contestant.name].append(done)
    return {name: collect(done) for name, done in runs.items()}


def ratio(ours: Timings, peer: Timings) -> float:
    """How many times as long the peer takes: the ratio of the medians."""
    return peer.median / ours.median


def ratio_range(ours: Timings, peer: Timings) -> tuple[float, float]:
    """Lowest and highest ratio within a round."""
    each = [p / o for o, p in zip(ours.seconds, peer.seconds, strict=True)]
    return min(each), max(each)


def spread(seconds: Sequence[float]) -> float:
    """(slowest - fastest) / median."""
    return (max(seconds) - min(seconds)) / median(seconds)


def differing(ours: Sequence[float], peer: Sequence[float], tolerances: Sequence[float]) -> str | None:
    """Where two series of losses differ by more than their relative tolerance; None where they agree."""
    if len(ours) != len(peer):
        return f"{len(ours)} losses against {len(peer)}"
    for i, (a, b, allowed) in enumerate(zip(ours, peer, tolerances, strict=True)):
        gap = abs(a - b) / max(abs(a), abs(b), 1e-12)
        if not gap <= allowed:  # also for NaN
            return f"loss {i + 1} is {a:.6f} against {b:.6f}: {gap:.1e} apart, {allowed:.0e} is allowed"
    return None


def settings_of(timings: Mapping[str, Timings], name: str) -> object:
    """What a program says it ran with."""
    return timings[name].results[0].get("settings", {})
