"""Is this stage still stable? Signals from its metrics, limits, and verdicts with the update at which each began.

A signal is a number of the updates so far that is larger the worse it is; None while it can't be told. It becomes a
verdict when it has stood above its limit for several updates in a row, and is given once. How the limits hold on runs
that were broken on purpose and on healthy ones: docs/algorithms.md, "Stability".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from gemma_align.config import MonitorConfig
from gemma_align.config.monitor import WATCHED, Action

Columns = Mapping[str, Sequence[float]]  # of each metric its values, oldest first
Signal = Callable[[Columns, int], float | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`name` is the signal's; it stood at `value`, above `limit`, when it was found, and had done so since `began`."""

    name: str
    began: int
    found: int
    value: float
    limit: float
    action: Action

    def __str__(self) -> str:
        return (
            f"{self.name.replace('_', ' ')} since update {self.began}: {self.value:.3g}, limit {self.limit:.3g} "
            f"({self.action.replace('_', ' ')})"
        )


def kl_blow_up(columns: Columns, window: int) -> float | None:
    """Median divergence lately, nats a token."""
    nats, tokens = columns.get("policy/kl"), columns.get("rollout/tokens")
    if not nats or not tokens:
        return None
    return median(n / max(t, 1.0) for n, t in zip(nats[-window:], tokens[-window:], strict=True))


def entropy_collapse(columns: Columns, window: int) -> float | None:
    """Share of the first entropy that is gone."""
    first, lately = _first_and_last(columns.get("policy/entropy"), window)
    return None if first is None or lately is None or first <= 0 else 1.0 - lately / first


def clip_saturation(columns: Columns, window: int) -> float | None:
    """Share of tokens cut, from either side."""
    low, high = columns.get("policy/clip_low"), columns.get("policy/clip_high")
    return fmean(low[-window:]) + fmean(high[-window:]) if low and high else None


def length_drift(columns: Columns, window: int) -> float | None:
    """Size of log(length lately / length at first)."""
    first, lately = _first_and_last(columns.get("rollout/tokens"), window)
    return None if first is None or lately is None else abs(math.log(max(lately, 1.0) / max(first, 1.0)))


def length_reward(columns: Columns, window: int) -> float | None:
    """Mean correlation of length and score."""
    known = columns.get("reward/length_correlation")
    return fmean(known[-window:]) if known else None


def value_failure(columns: Columns, window: int) -> float | None:
    """Minus the median explained variance; not before the critic has had `window` updates."""
    known = columns.get("value/explained_variance")
    return -median(known[-window:]) if known and len(known) >= 2 * window else None


def dead_groups(columns: Columns, window: int) -> float | None:
    """Mean share of dead groups."""
    known = columns.get("rollout/dead_groups")
    return fmean(known[-window:]) if known and len(known) >= window else None


def reward_falls(columns: Columns, window: int) -> float | None:
    """What was lost since the start, in deviations of a batch's scores at the start."""
    first, lately = _first_and_last(columns.get("reward/total"), window)
    spread = columns.get("reward/std")
    if first is None or lately is None or not spread:
        return None
    return (first - lately) / max(fmean(spread[:window]), 1e-6)


def violations_rise(columns: Columns, window: int) -> float | None:
    """Rise of violations, where the encoder's part (or the total, where there is no encoder) rose too; else 0."""
    first, lately = _first_and_last(columns.get("reward/violation"), window)
    learned = columns.get("reward/encoder") or columns.get("reward/total")
    before, now = _first_and_last(learned, window)
    if first is None or lately is None or before is None or now is None:
        return None
    return lately - first if now > before else 0.0


def never_ends(columns: Columns, window: int) -> float | None:
    """Mean share of unfinished responses; a base model that was never tuned doesn't end either."""
    known = columns.get("rollout/unfinished")
    return fmean(known[-window:]) if known and len(known) >= 2 * window else None


def not_finite(columns: Columns, window: int) -> float | None:
    """Optimizer steps left out lately."""
    known = columns.get("optimizer/skipped")
    return sum(known[-window:]) if known else None


def _first_and_last(values: Sequence[float] | None, window: int) -> tuple[float | None, float | None]:
    """Means of the first and of the last `window` values, once they don't overlap."""
    if not values or len(values) < 2 * window:
        return None, None
    return fmean(values[:window]), fmean(values[-window:])


SIGNALS: Mapping[str, Signal] = {
    "kl_blow_up": kl_blow_up,
    "entropy_collapse": entropy_collapse,
    "clip_saturation": clip_saturation,
    "length_drift": length_drift,
    "length_reward": length_reward,
    "value_failure": value_failure,
    "dead_groups": dead_groups,
    "reward_falls": reward_falls,
    "violations_rise": violations_rise,
    "never_ends": never_ends,
    "not_finite": not_finite,
}
AT_ONCE = ("not_finite",)  # verdicts that wait for no second update
READ = (
    "policy/kl",
    "policy/entropy",
    "policy/clip_low",
    "policy/clip_high",
    "rollout/tokens",
    "rollout/dead_groups",
    "rollout/unfinished",
    "reward/total",
    "reward/std",
    "reward/encoder",
    "reward/violation",
    "reward/length_correlation",
    "value/explained_variance",
    "optimizer/skipped",
)


class Monitor:
    """Sees the metrics of every update and gives each verdict once."""

    def __init__(self, settings: MonitorConfig) -> None:
        """`settings`: the configuration's `monitor`."""
        self.settings = settings
        self.verdicts: list[Verdict] = []
        self._columns: dict[str, list[float]] = {}
        self._above: dict[str, int] = {}  # since which update a signal has stood above its limit
        self._given: list[str] = []
        self.abandoned: list[tuple[int, int]] = []  # from a rewind's target to the update that it was decided at

    def see(self, step: int, metrics: Mapping[str, float]) -> list[Verdict]:
        """The verdicts that fall with this update."""
        if not self.settings.enabled:
            return []
        seen = {name: metrics[name] for name in READ if name in metrics}
        if not all(math.isfinite(value) for value in seen.values()):  # a mean with it would be silent ever after
            seen = {name: value for name, value in seen.items() if name == "optimizer/skipped"}
        for name, value in seen.items():
            self._columns.setdefault(name, []).append(value)
        found = [verdict for name in WATCHED if (verdict := self._judged(name, step)) is not None]
        self.verdicts += found
        self._given += [verdict.name for verdict in found]
        return found

    def rewound(self, before: Mapping[str, Any], step: int, now: int) -> None:
        """The weights of an earlier update are back: it has seen what it had then, and every verdict may fall again.

        Args:
            before: its own state then.
            step: that update.
            now: the one that was just seen; weights of those between are no longer to be gone back to.
        """
        self._columns = {name: list(values) for name, values in before["columns"].items()}
        self._above.clear()
        self._given.clear()
        self.abandoned.append((step, now))

    def too_early(self) -> list[str]:
        """Signals that were never told, though their metrics were, because they look at more updates than were seen."""
        longer = {name: values * (2 * self.settings.window) for name, values in self._columns.items()}
        return [
            name
            for name in WATCHED
            if SIGNALS[name](self._columns, self.settings.window) is None
            and SIGNALS[name](longer, self.settings.window) is not None
        ]

    def signals(self) -> dict[str, float | None]:
        """Of every signal its value now."""
        return {name: SIGNALS[name](self._columns, self.settings.window) for name in WATCHED}

    def state_dict(self) -> dict[str, Any]:
        """What was seen and said."""
        return {
            "columns": {name: list(values) for name, values in self._columns.items()},
            "above": dict(self._above),
            "given": list(self._given),
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            "abandoned": [list(span) for span in self.abandoned],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes back what `state_dict` gave; an empty one is a start."""
        self._columns = {name: list(values) for name, values in state.get("columns", {}).items()}
        self._above = dict(state.get("above", {}))
        self._given = list(state.get("given", []))
        self.verdicts = [Verdict(**verdict) for verdict in state.get("verdicts", [])]
        self.abandoned = [(first, last) for first, last in state.get("abandoned", [])]

    def _judged(self, name: str, step: int) -> Verdict | None:
        watch = getattr(self.settings, name)
        value = SIGNALS[name](self._columns, self.settings.window)
        if value is None or not value > watch.limit:
            self._above.pop(name, None)
            return None
        began = self._above.setdefault(name, step)
        patience = 1 if name in AT_ONCE else self.settings.patience
        if step - began + 1 < patience or name in self._given:
            return None
        return Verdict(name, began, step, value, watch.limit, watch.action)


def replayed(lines: Sequence[Mapping[str, float]], settings: MonitorConfig) -> Monitor:
    """A monitor that has seen these updates of one stage."""
    monitor = Monitor(settings)
    for step, line in enumerate(lines, 1):
        monitor.see(step, line)
    return monitor
