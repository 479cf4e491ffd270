"""What robots knew when they left, for when they come back."""

from __future__ import annotations

import time
from collections.abc import Callable

from adapt.errors import SnapshotError
from robot_bridge.errors import StateError
from robot_bridge.session.belief_store import BeliefStore
from robot_bridge.session.robot_session import Robot


class Recollection:
    """store: None keeps nothing beyond the bridge's own life. tell(name, robot, text)."""

    def __init__(self, store: BeliefStore | None, tell: Callable[[str, str, str], None]) -> None:
        self._store = store
        self._tell = tell

    def save(self, robot: Robot) -> None:
        """Store the belief that the robot has put aside, if there is a new one."""
        kept = robot.unsaved()
        if kept is not None and self._store is not None:
            self._store.save(robot.name, kept.digest, kept.version, kept.count, kept.snapshot)

    def recall(self, robot: Robot) -> None:
        """Let a robot go on from what it knew under the same model."""
        if self._store is None:
            return
        try:
            saved = self._store.find(robot.name, robot.digest)
            if saved is None:
                return
            belief = robot.recall(saved.snapshot)
        except (StateError, SnapshotError) as error:
            self._tell("belief_refused", robot.name, f"{error}; it starts from the prior")
            return
        age = max(0.0, time.time() - saved.saved)
        text = f"{belief.count} transitions, kept {age:.0f} s ago"
        self._tell("belief_restored", robot.name, text)

    def tend(self) -> None:
        """Tell of what could not be read or written."""
        if self._store is not None:
            for text in self._store.problems():
                self._tell("belief_file_problem", "", text)

    def close(self) -> None:
        """Everything saved is on the disk afterwards, as far as a disk that hangs allows."""
        if self._store is not None:
            self._store.close()
