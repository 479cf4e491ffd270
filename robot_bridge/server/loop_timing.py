"""When the bridge's loop waits, polls, does its other work and collects garbage."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from robot_bridge.system.realtime import Collector
from robot_bridge.system.systemd import Service

# How long the loop sleeps when nothing arrives [ms]: a signal waits at most so long.
IDLE_MS = 50
SETTLING_MS = 2  # while a worker finishes an episode, whose record an operator waits for
# A loop that spins does so for this long after a frame, four control periods at 16 Hz; then it
# sleeps as others do, so that a bridge without robots leaves its core alone [s].
SPIN = 0.25
TEND = 0.001  # between two looks at the other duties while it spins [s]
# The same while frames keep coming, in both modes: with many robots a look at each of them after
# every answer would cost more than the answers. Shorter than a period at 200 Hz [s].
BUSY = 0.004
OWED_MS = 5  # how long a loop sleeps that has left its other duties for later [ms]
# A spinning loop leaves other threads fewer cores, on which an answer still has to pass libzmq's
# threads and wake its robot: by then it has, and the others may begin [s].
QUIET = 0.0003


class LoopTiming:
    """Used as a context around the loop; tells systemd that it lives. spins: do not sleep while
    robots speak. now: the monotonic clock [s]."""

    def __init__(
        self,
        spins: bool = False,
        service: Service | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spins = spins
        self._service = service
        self._now = now
        self._collector = Collector()
        self._spin_until = 0.0
        self._tend_at = self._busy_until = 0.0
        self._owed = False  # whether other duties were left for later
        self._quiet_at = 0.0
        self._spinning = False

    def __enter__(self) -> Self:
        self._collector.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._collector.stop()

    def wait_ms(self, settling: bool) -> int:
        """How long to wait for the next frame; 0 while it spins [ms]."""
        if self.spins:
            self._spinning = self._now() < self._spin_until
            if self._spinning:
                return 0
        return SETTLING_MS if settling else OWED_MS if self._owed else IDLE_MS

    def quiet(self, heard: bool) -> bool:
        """Whether threads beside the loop may begin with what the last frames left them. heard: as
        in `turn`."""
        if not self.spins:
            return True
        now = self._now()
        if heard:
            self._quiet_at = now + QUIET
        return now >= self._quiet_at

    def turn(self, heard: bool) -> bool:
        """Whether other duties are due, once frames have been answered. heard: there were any."""
        now = self._now()
        if heard:
            self._spin_until = now + SPIN
            self._owed = now < self._busy_until
            if self._owed:
                return False
        elif self._spinning and now < self._tend_at:
            return False
        self._tend_at, self._busy_until, self._owed = now + TEND, now + BUSY, False
        # Here the answers are out, and the next observation is most of a period away.
        self._collector.gap(idle=not heard and not self._spinning)
        if self._service is not None:
            self._service.alive()
        return True
