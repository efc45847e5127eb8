"""What a run that samples tells on its way: reward for the tokens spent, and proxy against gold.

Pure functions of a cell's record. Reward and distance are those of the rollouts; proxy and gold at the evaluations
along the way are of greedy responses to the tune split, so the report split is looked at once, at the end.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from gemma_align.config import Stage
from gemma_align.experiments.config_diff import flat_settings, settings_of_stage

WINDOW = 10  # updates over which a learning curve is smoothed
LAST = 10  # updates that tell how a run ended
MOVED_NATS = 1.0  # a policy that is nearer to its start, and
MOVED_DEVIATIONS = 0.5  # has gained less of the proxy than this, was not trained

Record = Mapping[str, Any]
Kind = Literal["not trained", "hacked", "harmed", "improved", "open"]


@dataclass(frozen=True, slots=True)
class Point:
    """An evaluation along the way.

    distance  sqrt(KL) of the rollouts around it to the stage's start, root of nats a response
    proxy     the reward of greedy responses, which is what was trained on
    gold      the measure that it wasn't
    """

    step: int
    distance: float
    proxy: float
    gold: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """The stages of a run that sample.

    tokens  sampled so far, after each update
    reward, kl, entropy, length, violations, unfinished  means over an update's responses
    spread  standard deviation of the first updates' scores: the unit of the proxy's gain
    reward_key  equal where rewards are the same number
    """

    steps: tuple[int, ...]
    tokens: tuple[float, ...]
    columns: Mapping[str, tuple[float | None, ...]]
    points: tuple[Point, ...]
    spread: float
    reward_key: str

    @property
    def reward(self) -> tuple[float, ...]:
        """Of each update's responses."""
        return tuple(value or 0.0 for value in self.columns["reward/total"])

    @property
    def final_kl(self) -> float:
        """Nats a response, over the last updates."""
        return statistics.fmean(value or 0.0 for value in self.columns["policy/kl"][-LAST:])

    @property
    def gain(self) -> float:
        """Of the proxy from the first evaluation to the last, in deviations of its scores at the start."""
        if len(self.points) < 2:
            return (statistics.fmean(self.reward[-LAST:]) - statistics.fmean(self.reward[:LAST])) / self.spread
        return (self.points[-1].proxy - self.points[0].proxy) / self.spread

    @property
    def moved(self) -> bool:
        """Whether it is anything else than its start."""
        return self.final_kl >= MOVED_NATS or self.gain >= MOVED_DEVIATIONS


SHOWN = ("policy/kl", "policy/entropy", "rollout/tokens", "rollout/unfinished")  # and every part of the reward
NO_PARTS = ("reward/std", "reward/std_in_group", "reward/length_correlation")


def course_of(record: Record, gold: str) -> Course | None:
    """None of a cell that never sampled."""
    rolled = [row for row in record["course"] if "rollout/tokens" in row]
    if not rolled:
        return None
    tokens = tuple(accumulate(row["rollout/all_tokens"] for row in rolled))
    stages = {row["stage"] for row in rolled}
    told = [row for row in record["course"] if row["stage"] in stages and "eval/reward_total" in row]
    parts = [name for name in rolled[-1] if name.startswith("reward/") and name not in ("reward/total", *NO_PARTS)]
    spread = statistics.fmean(row.get("reward/std") or 0.0 for row in rolled[:WINDOW])
    return Course(
        steps=tuple(row["step"] for row in rolled),
        tokens=tokens,
        columns={
            name: tuple(row.get(name) for row in rolled)
            for name in ("reward/total", *parts, *SHOWN)
            if name in rolled[-1]
        },
        points=tuple(_point(row, rolled, gold) for row in told),
        spread=spread or 1.0,
        reward_key=_reward_key(record),
    )


def reward_per_token(course: Course, budget: float) -> float:
    """Mean reward of everything sampled within a budget of tokens: the area under the learning curve by its width."""
    area, before = 0.0, 0.0
    for reward, until in zip(course.reward, course.tokens, strict=True):
        area += reward * (min(until, budget) - before)
        before = min(until, budget)
        if until >= budget:
            break
    return area / before


def tokens_to(course: Course, level: float) -> float | None:
    """Tokens sampled until the smoothed reward first reaches a level; None where it never does."""
    reward = course.reward
    for i in range(WINDOW - 1, len(reward)):
        if statistics.fmean(reward[i - WINDOW + 1 : i + 1]) >= level:
            return course.tokens[i]
    return None


def farthest(course: Course) -> float:
    """Distance of the evaluation that was farthest from the start."""
    return max((point.distance for point in course.points), default=0.0)


def at_distance(course: Course, distance: float) -> tuple[float, float | None]:
    """Gains of the proxy (in deviations) and of gold where a run first came so far, straight between two evaluations.

    Args:
        course: its first evaluation is the start.
        distance: root of nats, at most `farthest(course)`.
    """
    first, before = course.points[0], course.points[0]
    for point in course.points[1:]:
        if point.distance >= distance:
            step = point.distance - before.distance
            share = (distance - before.distance) / step if step > 0 else 1.0
            proxy = before.proxy + share * (point.proxy - before.proxy)
            gold = None
            if before.gold is not None and point.gold is not None and first.gold is not None:
                gold = before.gold + share * (point.gold - before.gold) - first.gold
            return (proxy - first.proxy) / course.spread, gold
        before = point
    raise ValueError(f"a distance up to {farthest(course):.3f} was wanted, given {distance:.3f}")


def judge(courses: Sequence[Course], gold: Literal["better", "worse", "open", "unknown"]) -> Kind:
    """Is the reward of these runs of one method being hacked?

    Args:
        courses: one a seed.
        gold: how the method's measure on the report split compares with that of the policy it started from.
    """
    gained = statistics.fmean(course.gain for course in courses) >= MOVED_DEVIATIONS
    if not gained and statistics.fmean(course.final_kl for course in courses) < MOVED_NATS:
        return "not trained"
    if gold == "worse":
        return "hacked" if gained else "harmed"
    return "improved" if gold == "better" else "open"


def _point(row: Record, rolled: Sequence[Record], gold: str) -> Point:
    """Around an evaluation means: the updates just before it, or the first one at the start."""
    before = [r["policy/kl"] or 0.0 for r in rolled if r["step"] <= row["step"]][-LAST // 2 :]
    distance = max(statistics.fmean(before), 0.0) ** 0.5 if before else 0.0
    return Point(row["step"], distance, row["eval/reward_total"], row.get(f"eval/{gold}"))


def _reward_key(record: Record) -> str:
    """What two methods must share for their rewards to be the same number: what their sampling stages are scored by."""
    settings = flat_settings(record["config"])
    own = [
        {key: value for key, value in settings_of_stage(settings, stage).items() if key.startswith("reward.")}
        for stage in settings["stages"]
        if Stage.model_validate({"method": stage["method"]}).samples
    ]
    return json.dumps(own, sort_keys=True)
