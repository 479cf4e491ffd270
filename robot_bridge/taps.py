"""The taps of one bridge, kept apart from its loop: what one of them does wrong costs it its place.

`step` and `event` are called by the loop, `adapted` by workers.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence

from robot_bridge.tap import AdaptationRecord, EventRecord, StepRecord, Tap


class Taps:
    """Calls every tap in turn; one that raises is dropped, and `problems` says so."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        # Replaced whole and never changed, so that a worker may go through it while the loop drops.
        self._taps = tuple(taps)
        self._problems: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __bool__(self) -> bool:
        return bool(self._taps)

    def step(self, record: StepRecord) -> None:
        """After the answer has been sent."""
        self._each(lambda tap: tap.step(record))

    def adapted(self, record: AdaptationRecord) -> None:
        """After one transition, on the thread that learnt from it."""
        self._each(lambda tap: tap.adapted(record))

    def event(self, record: EventRecord) -> None:
        """After the peers concerned have been told."""
        self._each(lambda tap: tap.event(record))

    def problems(self) -> list[str]:
        """Which taps were dropped since the last call, and why."""
        found: list[str] = []
        while not self._problems.empty():
            found.append(self._problems.get())
        return found

    def close(self) -> None:
        """Close every tap that is left, whatever the others do."""
        self._each(lambda tap: tap.close())
        self._taps = ()

    def _each(self, call: Callable[[Tap], None]) -> None:
        for tap in self._taps:
            try:
                call(tap)
            # Whatever it is: a recorder's fault must not become a robot's.
            except Exception as error:
                self._taps = tuple(other for other in self._taps if other is not tap)
                self._problems.put(f"{type(tap).__name__} is no longer told anything: {error!r}")
