"""A trial's numbers: success and time against the number of adaptation episodes."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable

from msgspec import Struct

from robot_bridge.protocol.messages import Outcome

NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """The n-th episodes of all tasks together.

    episode: adaptation episodes before this one. low, high: Wilson's 95 % interval of the success
    rate. duration: mean over the successful episodes [s], None when there were none.
    """

    episode: int
    tasks: int
    successes: int
    rate: float
    low: float
    high: float
    duration: float | None


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


def table(episodes: Iterable[tuple[int, Outcome]]) -> list[Row]:
    """One row per number of adaptation episodes, from (that number, outcome) of every episode."""
    groups: dict[int, list[Outcome]] = defaultdict(list)
    for index, outcome in episodes:
        groups[index].append(outcome)
    rows: list[Row] = []
    for index in sorted(groups):
        outcomes = groups[index]
        wins = [outcome for outcome in outcomes if outcome.success]
        n = len(outcomes)
        low, high = wilson(len(wins), n)
        duration = statistics.fmean(win.duration for win in wins) if wins else None
        rows.append(Row(index, n, len(wins), len(wins) / n, low, high, duration))
    return rows
