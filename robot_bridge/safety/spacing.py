"""Spacing: do a robot's observations come one control period apart?

A policy's increments, velocities and rates mean what they meant in training only at the bundle's
control period: a driver that asks five times as often would move the robot five times as fast. The
bridge and the client both measure the spacing, and hold the robot while it is wrong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

# Part of the control period: a driver may be this fast for ever, and this slow. Its own clock
# and its scheduler are not exact.
FASTEST = 0.9
SLOWEST = 1.25
# Periods ahead or behind below which a robot that was held may go on.
RECOVERED = 1.0
# Shorter spacings count as this part of a period where a change is divided by it: sensor noise over
# a microsecond would be an enormous speed.
SHORTEST = 0.5
# Spacings from this part of a period on are ordinary jitter of a driver at the right rate.
JITTER = 0.8
TOO_FAST, TOO_SLOW = "driver_too_fast", "driver_too_slow"


@dataclass(frozen=True)
class SpacingSettings:
    """gap: control periods between two observations of an episode from which on the robot holds.
        Two: one missed period is ordinary jitter, and the client's own patience ends there, too.
    drift: control periods that a driver may be ahead or behind in sum before the robot holds.
        Three let a driver catch up after a hiccup; at five times the rate they are used up within
        five observations. Infinite for a driver without a rate, as in tests: limits on rates then
        count observations instead of time.
    """

    gap: Annotated[float, Meta(gt=1.0)] = 2.0
    drift: Annotated[float, Meta(gt=0.0)] = 3.0


class SpacingMonitor:
    """Watches one robot's observations. period: the bundle's control period [s]."""

    def __init__(self, period: float, settings: SpacingSettings | None = None) -> None:
        self._period = period
        self._settings = settings or SpacingSettings()
        self._before_ns: int | None = None
        self._ahead = self._behind = 0.0  # of the control period's beat [periods]
        self._trouble = "", ""
        self.periods = 1.0  # between the last two observations of an episode
        # Control periods over which a change between the last two observations came about.
        self.elapsed = 1.0

    def note(self, time_ns: int, paused: bool = False) -> tuple[str, str]:
        """An observation of that time; returns TOO_FAST or TOO_SLOW and a text, or two empty
        strings.

        time_ns: on one monotonic clock [ns]. paused: nothing is too slow, for the robot could take
        the time it needed since the observation before, as between episodes.
        """
        before_ns, self._before_ns = self._before_ns, time_ns
        if before_ns is None:
            return self._trouble
        drift = self._settings.drift
        spacing = (time_ns - before_ns) * 1e-9
        periods = spacing / self._period
        self.periods = 1.0 if paused else periods
        self.elapsed = self.periods if self.periods > SHORTEST else SHORTEST
        # Conditions instead of max(): as a rule both are below 0, and this runs in every period.
        ahead = self._ahead + FASTEST - periods
        ahead = self._ahead = min(drift + 1.0, ahead) if ahead > 0.0 else 0.0
        behind = 0.0 if paused else self._behind + periods - SLOWEST
        behind = self._behind = min(drift + 1.0, behind) if behind > 0.0 else 0.0
        name = ""
        if ahead > drift:
            name = TOO_FAST
        elif behind > drift or (periods > self._settings.gap and not paused):
            name = TOO_SLOW
        if name:
            text = (
                f"{spacing:.3g} s since the observation before; the bundle's control period is "
                f"{self._period:g} s"
            )
            self._trouble = name, text
        elif self._trouble[0] and ahead < RECOVERED and behind < RECOVERED:
            self._trouble = "", ""
        return self._trouble

    @property
    def allowed(self) -> float:
        """Part of a period's change that a command may make: all of it but after a spacing that is
        shorter than ordinary jitter. Never 0, by which an infinite limit would become NaN."""
        free = self.periods >= JITTER or self._settings.drift == math.inf
        return 1.0 if free else max(1e-6, self.periods)
