"""Snapshots of a robot's adapter: told to recorders, and kept to go back to."""

from __future__ import annotations

import time

from adapt.errors import SnapshotError
from robot_bridge.protocol.messages import Begin
from robot_bridge.session.event_throttle import EventThrottle
from robot_bridge.session.policy_instance import Kept, PolicyInstance
from robot_bridge.telemetry.observers import Taps
from robot_bridge.telemetry.records import StateRecord


class SnapshotPublisher:
    """robot: its name."""

    def __init__(
        self, robot: str, policy: PolicyInstance, taps: Taps, notices: EventThrottle
    ) -> None:
        self._robot = robot
        self._policy = policy
        self._taps = taps
        self._notices = notices
        self._unsaved: Kept | None = None

    def tell(self, cause: str, begin: Begin | None) -> None:
        """Tell recorders what the adapter knows, whenever it changes by anything but `act` and
        `observe`: a replay goes on from there. begin: of the open episode, if an operator asked for
        it."""
        if not self._taps.recording:
            return
        adapter = self._policy.adapter
        numbers = (begin.task, begin.episode, begin.seed) if begin else ()
        # Before the snapshot: what was learnt before this moment is in it.
        now_ns = time.monotonic_ns()
        try:
            snapshot = adapter.snapshot()
        except SnapshotError as error:
            self._notices.last("state_not_recorded", f"{cause}: {error}")
            snapshot = b""
        self._taps.state(
            StateRecord(
                self._robot,
                now_ns,
                cause,
                self._policy.bundle.digest,
                snapshot,
                adapter.adapting,
                *numbers,
                # Unique among adapters that are still learning.
                adapter=id(adapter),
            )
        )

    def put_aside(self, cause: str) -> None:
        """Keep the belief if it is another than the one kept last."""
        policy, kept = self._policy, self._policy.kept
        latest = (kept[-1].digest, kept[-1].version) if kept else ("", 0)
        if (policy.bundle.digest, policy.belief.version) == latest or not policy.belief.count:
            return
        try:
            self._unsaved = policy.keep(cause)
        except SnapshotError as error:
            self._notices.last("belief_not_kept", str(error))

    def unsaved(self) -> Kept | None:
        """The latest belief that was kept since the last call, if any."""
        kept, self._unsaved = self._unsaved, None
        return kept
