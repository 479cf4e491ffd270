"""The stops that the bridge knows of: numbers, robots concerned, releases."""

from __future__ import annotations

from robot_bridge.protocol.messages import Release

# Robots' names that the bridge tells apart for as long as it lives. Together they fit a welcome.
NAMES = 500


class StopRegistry:
    """Stops are numbered from 1, rising for as long as the bridge lives.

    A stop without a robot's name concerns every robot, also one that connects later. It stands for
    a robot until a release for that robot names its number or a higher one. What a robot says of
    its own latch is kept by name, so that a driver that dies stopped comes back stopped. So does
    one that is lost, for it may have stopped without being heard.
    """

    def __init__(self) -> None:
        self.number = 0  # of the latest stop
        self._for_all = 0
        self._for: dict[str, int] = {}
        self._released: dict[str, int] = {}
        self._latches: dict[str, int] = {}
        self._latched: set[str] = set()

    def room(self, robot: str) -> bool:
        """Whether a stop for the robot of that name can be told from one for all."""
        return robot in self._for or len(self._for) < NAMES

    def give(self, robot: str) -> int:
        """A stop for the robot of that name, or for all where it is empty; its number."""
        self.number += 1
        if robot:
            self._for[robot] = self.number
        else:
            self._for_all = self.number
        return self.number

    def concerning(self, robot: str) -> int:
        """Number of the latest stop that concerns a robot; 0 where there was none."""
        return max(self._for_all, self._for.get(robot, 0))

    def standing(self, robot: str) -> bool:
        """Whether a stop was given that the robot has not been released from."""
        return self.concerning(robot) > self._released.get(robot, 0)

    def stopped(self, robot: str) -> bool:
        """Whether a robot has to start stopped: by the bridge, or by its own latch when it left."""
        return self.standing(robot) or robot in self._latched

    def latched(self, robot: str) -> bool:
        """Whether the robot has said that its own stop is latched, or was lost."""
        return robot in self._latched

    def lost(self, robot: str) -> None:
        """A robot went without a goodbye: it starts stopped when it is back."""
        self._latched.add(robot)

    def heard(self, robot: str, latch: int, stopped: bool) -> bool:
        """What a robot says of its own latch; True where its number is new."""
        new = latch > self._latches.get(robot, 0)
        if new:
            self._latches[robot] = latch
        if stopped:
            self._latched.add(robot)
        else:
            self._latched.discard(robot)
        return new

    def latches(self, robot: str = "") -> dict[str, int]:
        """Latest self-stop number, by robot; of one robot or, "", of all."""
        if not robot:
            return dict(self._latches)
        return {robot: self._latches[robot]} if robot in self._latches else {}

    def release(self, robot: str, release: Release) -> str:
        """Open what stands for a robot; why not, or ""."""
        if release.stop > self.number:
            return f"it names stop {release.stop}; the latest is {self.number}"
        if release.stop < self.concerning(robot):
            return (
                f"stop {self.concerning(robot)} was given after stop {release.stop}, which the "
                "release answers"
            )
        if release.latch < self._latches.get(robot, 0):
            return (
                f"the robot has stopped {self._latches[robot]} times by itself; the release "
                f"answers {release.latch}"
            )
        self._released[robot] = self.concerning(robot)
        return ""
