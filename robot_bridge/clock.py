"""Keeping a control rate on the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Rate:
    """Absolute deadlines `start + k × period`, so that lateness never adds up to drift.

    period [s]. now_ns, sleep: the monotonic clock [ns] and a sleep [s], to be replaced in tests.
    """

    def __init__(
        self,
        period: float,
        now_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not period > 0:
            raise ValueError(f"period {period} s; expected more than 0")
        self._period_ns = round(period * 1e9)
        self._now_ns = now_ns
        self._sleep = sleep
        self.missed = 0  # whole periods skipped so far
        self.restart()

    def restart(self) -> None:
        """Count from now, as after a pause between episodes."""
        self._deadline_ns = self._now_ns() + self._period_ns

    def wait(self) -> float:
        """Sleep until the deadline; returns how late this period ended [s].

        A loop that is late by whole periods skips them instead of hurrying after them: a burst of
        commands would move the robot faster than anyone asked.
        """
        left_ns = self._deadline_ns - self._now_ns()
        if left_ns > 0:
            self._sleep(left_ns / 1e9)
        late_ns = max(0, self._now_ns() - self._deadline_ns)
        skipped = late_ns // self._period_ns
        self.missed += skipped
        self._deadline_ns += (skipped + 1) * self._period_ns
        return late_ns / 1e9
