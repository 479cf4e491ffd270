"""A trial's numbers against the number of adaptation episodes: success and time, and measures."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from msgspec import Struct

from robot_bridge.protocol.messages import Outcome

NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


class Spread(Struct, frozen=True, forbid_unknown_fields=True):
    """A measure over several tasks. low, high: mean ∓ 1.96 standard errors; equal to the mean for a
    single task."""

    mean: float
    low: float
    high: float


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """The n-th episodes of all tasks together.

    episode: adaptation episodes before this one. low, high: Wilson's 95 % interval of the success
    rate. duration: mean over the successful episodes [s], None when there were none. judged_by: the
    measure that says how good an episode was, "" for success. measures: those that every one of the
    episodes has. ends: how many episodes ended for which reason, the most frequent first. touched:
    on how many tasks the robot had touched the cell before.
    """

    episode: int
    tasks: int
    successes: int
    rate: float
    low: float
    high: float
    duration: float | None
    judged_by: str = ""
    measures: dict[str, Spread] = {}
    ends: dict[str, int] = {}
    touched: int = 0


def wilson(successes: int, n: int, z: float = NORMAL_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (JASA 22, 1927); (0, 1) for n = 0.

    It stays within [0, 1], and is wider than 0 also at 0 and n successes.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}; expected 0 to {n}")
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n successes one bound is exact; rounding would exceed it.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def spread(values: Sequence[float]) -> Spread:
    """Mean of at least one value, with its 95 % interval."""
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Spread(mean, mean - NORMAL_95 * error, mean + NORMAL_95 * error)


def judge(outcomes: Iterable[Outcome]) -> str:
    """The measure by which all of these were judged; "" for success, also where they differ."""
    names = {outcome.judged_by for outcome in outcomes}
    return names.pop() if len(names) == 1 else ""


def other_measures(rows: Sequence[Row]) -> list[str]:
    """Measures that every row has, but the one that judges."""
    return [
        name
        for name in rows[0].measures
        if name != rows[0].judged_by and all(name in row.measures for row in rows)
    ]


def table(episodes: Iterable[tuple[int, Outcome]], probes: Sequence[int] = ()) -> list[Row]:
    """One row per number of adaptation episodes, from (that number, outcome) of every episode.
    probes: of each probing, the number of the episode that it preceded."""
    groups: dict[int, list[Outcome]] = defaultdict(list)
    for index, outcome in episodes:
        groups[index].append(outcome)
    return [
        _row(index, groups[index], sum(before <= index for before in probes))
        for index in sorted(groups)
    ]


def _row(index: int, outcomes: list[Outcome], touched: int) -> Row:
    wins = [outcome for outcome in outcomes if outcome.success]
    n = len(outcomes)
    low, high = wilson(len(wins), n)
    duration = statistics.fmean(win.duration for win in wins) if wins else None
    common = [name for name in outcomes[0].measures if all(name in o.measures for o in outcomes)]
    measures = {name: spread([o.measures[name] for o in outcomes]) for name in common}
    judged_by = judge(outcomes)
    ends = dict(Counter(outcome.reason for outcome in outcomes).most_common())
    return Row(
        index, n, len(wins), len(wins) / n, low, high, duration,
        judged_by if judged_by in measures else "", measures, ends, touched,
    )  # fmt: skip
