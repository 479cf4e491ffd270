"""The taps of one bridge. A tap that raises is dropped, and the loop goes on.

`step` and `event` are called by the loop, `adapted` by the thread that learnt.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import TypeVar

from robot_bridge.errors import described
from robot_bridge.system.queues import drained
from robot_bridge.telemetry.records import (
    AdaptationRecord,
    ClockRecord,
    ClockTap,
    EndRecord,
    EventRecord,
    GapTap,
    Recorder,
    StateRecord,
    StepRecord,
    Tap,
)

T = TypeVar("T", bound=Tap)


class Taps:
    """Calls every tap in turn; one that raises is dropped, and `problems` says so."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        # Replaced and never changed: a worker may iterate over it while the loop drops a tap.
        self._taps = tuple(taps)
        self._recorders = tuple(tap for tap in taps if isinstance(tap, Recorder))
        self._clocks = tuple(tap for tap in taps if isinstance(tap, ClockTap))
        self._gaps = tuple(tap for tap in taps if isinstance(tap, GapTap))
        self._problems: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __bool__(self) -> bool:
        return bool(self._taps)

    @property
    def recording(self) -> bool:
        """Whether a recorder wants the adapters' states, which cost a little to take."""
        return bool(self._recorders)

    def step(self, record: StepRecord) -> None:
        """After the answer has been sent."""
        self._each(self._taps, lambda tap: tap.step(record))

    def adapted(self, record: AdaptationRecord) -> None:
        """After one transition, on the thread that learnt from it."""
        self._each(self._taps, lambda tap: tap.adapted(record))

    def event(self, record: EventRecord) -> None:
        """After the peers concerned have been told."""
        self._each(self._taps, lambda tap: tap.event(record))

    def clock(self, record: ClockRecord) -> None:
        """For taps with `clock`: with every heartbeat that has the clocks' offset."""
        self._each(self._clocks, lambda tap: tap.clock(record))

    def gap(self) -> None:
        """For taps with a thread of their own: the answers are out."""
        if self._gaps:
            self._each(self._gaps, _open)

    def state(self, record: StateRecord) -> None:
        """For recorders alone; see StateRecord for when."""
        self._each(self._recorders, lambda tap: tap.state(record))

    def ended(self, record: EndRecord) -> None:
        """For recorders alone, when an episode has been left."""
        self._each(self._recorders, lambda tap: tap.ended(record))

    def troubles(self) -> list[tuple[str, str]]:
        """(name, text) of the recorders' own events since the last call."""
        found: list[tuple[str, str]] = []
        self._each(self._recorders, lambda tap: found.extend(tap.troubles()))
        return found

    def problems(self) -> list[str]:
        """Which taps were dropped since the last call, and why."""
        return drained(self._problems)

    def close(self) -> None:
        """Close every tap that is left, also after one of them raised."""
        self._each(self._taps, lambda tap: tap.close())
        self._taps = self._recorders = self._clocks = self._gaps = ()

    def _each(self, taps: tuple[T, ...], call: Callable[[T], None]) -> None:
        for tap in taps:
            try:
                call(tap)
            # Any exception: a recorder's fault must not become a robot's.
            except Exception as error:
                self._taps = tuple(other for other in self._taps if other is not tap)
                self._recorders = tuple(other for other in self._recorders if other is not tap)
                self._clocks = tuple(other for other in self._clocks if other is not tap)
                self._gaps = tuple(other for other in self._gaps if other is not tap)
                told = f"{type(tap).__name__} is no longer told anything: {described(error)}"
                self._problems.put(told)


def _open(tap: GapTap) -> None:
    tap.gap()
