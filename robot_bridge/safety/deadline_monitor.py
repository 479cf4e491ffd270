"""Does the bridge answer one robot in time, the wait in its socket included?"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from robot_bridge.system.clock import DRIFT_PPM

Share = Annotated[float, Meta(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class DeadlineSettings:
    """late: part of the control period from which on an answer counts as late. Half: the other half
        is for the way there and back, and for the robot's own work.
    slipping: share of late answers at which people are told. One in twenty is more than an
        operating system's ordinary hiccups.
    lost: share at which the robot is stopped, and stays so until an operator releases it. With one
        answer in four late, a robot that holds between them jerks, and what it does was not
        trained; 1 never stops it.
    window: answers over which shares are taken. A hundred are two seconds at 50 Hz, and one late
        answer is then no more than a hundredth.
    """

    late: Annotated[float, Meta(gt=0.0)] = 0.5
    slipping: Share = 0.05
    lost: Share = 0.25
    window: Annotated[int, Meta(ge=10, le=100_000)] = 100


# Between two clocks [ns per ns]: crystals are good to 50 ppm each.
DRIFT = DRIFT_PPM * 1e-6


class DeadlineMonitor:
    """Watches the answers to one robot. period_ns: its control period [ns].

    An observation that waits in the socket has not been received yet, so the wait is told from the
    robot's own stamp: by how much longer than the fastest observation it took to be received. The
    two clocks need not agree; they drift apart by at most DRIFT.
    """

    def __init__(self, settings: DeadlineSettings, period_ns: int) -> None:
        self._settings = settings
        self._period_ns = period_ns
        self._late_ns = settings.late * period_ns
        self._answers: deque[tuple[int, bool]] = deque(maxlen=settings.window)
        self._late = 0
        self._told = False
        self._received_ns = 0
        self._least_ns = math.inf  # from a stamp to its receipt, across the two clocks
        # Whether the last observation waited longer than a period: the next one is there, too.
        self.behind = False

    @property
    def share(self) -> float:
        """Share of late answers; those that have not come yet count as in time."""
        return self._late / self._settings.window

    @property
    def rate(self) -> float:
        """Observations per second over the window; 0 before the second."""
        if len(self._answers) < 2:
            return 0.0
        span_ns = self._answers[-1][0] - self._answers[0][0]
        return (len(self._answers) - 1) * 1e9 / span_ns if span_ns > 0 else 0.0

    def note(
        self, stamp_ns: int, received_ns: int, sent_ns: int
    ) -> Literal["", "slipping", "lost"]:
        """One answer, and what it makes of the share of late ones; "slipping" is said once, until
        the share has halved or `reset`.

        stamp_ns: of the observation, on the robot's clock. received_ns, sent_ns: when its frame was
        read and the answer sent, on the bridge's.
        """
        passed_ns = received_ns - stamp_ns
        drifted_ns = self._least_ns + DRIFT * (received_ns - self._received_ns)
        self._least_ns, self._received_ns = min(passed_ns, drifted_ns), received_ns
        waited_ns = passed_ns - self._least_ns
        self.behind = waited_ns > self._period_ns
        late = waited_ns + sent_ns - received_ns > self._late_ns
        if len(self._answers) == self._settings.window:
            self._late -= self._answers[0][1]
        self._answers.append((received_ns, late))
        self._late += late
        share, settings = self.share, self._settings
        if late and settings.lost < 1.0 and share >= settings.lost:
            return "lost"
        if late and share >= settings.slipping and not self._told:
            self._told = True
            return "slipping"
        if share <= 0.5 * settings.slipping:
            self._told = False
        return ""

    def reset(self) -> None:
        """An operator lets the robot try again."""
        self._answers.clear()
        self._late, self._told = 0, False
        # Its clock may have stood still, as in a machine that was suspended: against the fastest
        # observation before, every one would be late for ever.
        self._least_ns = math.inf
