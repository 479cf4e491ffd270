"""Keeps a control rate on the monotonic clock; estimates the offset of another machine's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


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
        """Start counting now, for example after a pause between episodes."""
        self._deadline_ns = self._now_ns() + self._period_ns

    def wait(self) -> float:
        """Sleep until the deadline; returns how late this period ended [s].

        A loop that is late by whole periods skips them: catching up by a burst of commands would
        move the robot too fast.
        """
        left_ns = self._deadline_ns - self._now_ns()
        if left_ns > 0:
            self._sleep(left_ns / 1e9)
        late_ns = max(0, self._now_ns() - self._deadline_ns)
        skipped = late_ns // self._period_ns
        self.missed += skipped
        self._deadline_ns += (skipped + 1) * self._period_ns
        return late_ns / 1e9


# Two clocks drift apart by at most so much: crystals are good to 50 ppm each.
DRIFT_PPM = 100
FARTHEST_NS = 2**63 - 1  # that two clocks are apart, as int64 has it
WINDOW_NS = 30_000_000_000  # by then 100 ppm have cost 3 ms, and any newer exchange is better


@dataclass(frozen=True)
class Offset:
    """The bridge's clock minus the robot's, all in [ns].

    offset_ns: the middle; the truth is within bound_ns of it. round_trip_ns: of the exchange
    behind it, without the time that the bridge took to answer.
    """

    offset_ns: int
    bound_ns: int
    round_trip_ns: int


@dataclass(frozen=True)
class _Exchange:
    time_ns: int  # the robot's clock when the answer was in
    offset_ns: int
    round_trip_ns: int
    key: int


class OffsetEstimator:
    """Offset of two monotonic clocks from exchanges of four times, as NTP has them (RFC 5905, 8).

    An exchange bounds the offset by half its round trip, even if one direction took all of it; the
    bound widens by the drift as the exchange ages. Of the window, the exchange with the tightest
    bound now counts. window_ns [ns].
    """

    def __init__(self, window_ns: int = WINDOW_NS) -> None:
        if window_ns <= 0:
            raise ValueError(f"window {window_ns} ns; expected more than 0")
        self._window_ns = window_ns
        # The bound at any time is key + drift × that time, so that the order of two exchanges
        # never changes: an older one with a larger key will never be the best.
        self._exchanges: deque[_Exchange] = deque()

    def add(self, asked_ns: int, received_ns: int, sent_ns: int, answered_ns: int) -> bool:
        """One exchange: asked and answered on the robot's clock, received and sent on the bridge's.

        False, and nothing changes, for an exchange that cannot have happened: an end before its
        start, an answer that took the bridge longer than the robot waited, a time before that of
        the last exchange, clocks too far apart for a heartbeat to tell.
        """
        taken_ns = sent_ns - received_ns
        round_trip_ns = answered_ns - asked_ns - taken_ns
        exchanges = self._exchanges
        if taken_ns < 0 or round_trip_ns < 0:
            return False
        if exchanges and answered_ns < exchanges[-1].time_ns:
            return False
        offset_ns = (received_ns - asked_ns + sent_ns - answered_ns) // 2
        if max(abs(offset_ns), round_trip_ns) > FARTHEST_NS:
            return False
        key = round_trip_ns // 2 - answered_ns * DRIFT_PPM // 1_000_000
        while exchanges and exchanges[-1].key >= key:
            exchanges.pop()
        while exchanges and exchanges[0].time_ns < answered_ns - self._window_ns:
            exchanges.popleft()
        exchanges.append(_Exchange(answered_ns, offset_ns, round_trip_ns, key))
        return True

    def estimate(self, now_ns: int) -> Offset | None:
        """The offset with its bound at now_ns of the robot's clock; None before an exchange."""
        if not self._exchanges:
            return None
        best = self._exchanges[0]
        aged_ns = max(0, now_ns - best.time_ns) * DRIFT_PPM // 1_000_000
        # Two halves were rounded down above.
        bound_ns = best.round_trip_ns // 2 + aged_ns + 2
        return Offset(best.offset_ns, bound_ns, best.round_trip_ns)

    def clear(self) -> None:
        """Forget all exchanges, for a new bridge."""
        self._exchanges.clear()
