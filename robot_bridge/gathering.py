"""Observations of several robots that wait for one run of the policy.

Only what lies in the socket at once is gathered, so nobody waits for a robot that is slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from adapt.adapter import Action
from adapt.batch import ROWS, Batch
from robot_bridge.answer import Answer
from robot_bridge.messages import Observation
from robot_bridge.peer import Peer
from robot_bridge.robot import Robot

# Of the models that robots act with: the one that serves, and the one that some still have.
MODELS = 2


class Waiting(NamedTuple):
    """An observation that the policy has yet to answer. received_ns: when its frame was in, on the
    bridge's clock [ns]."""

    peer: Peer
    robot: Robot
    observation: Observation
    received_ns: int


class Gathering:
    """Belongs to the thread that acts."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._batches: dict[str, Batch] = {}  # by digest, the one used last at the end

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no further robot fits into the run."""
        return len(self._waiting) >= ROWS

    def holds(self, robot: Robot) -> bool:
        """Whether an observation of this robot waits."""
        return any(waiting.robot is robot for waiting in self._waiting)

    def add(self, waiting: Waiting) -> None:
        """After the robot's `ask` has left it to the policy."""
        self._waiting.append(waiting)

    def answers(self) -> Iterator[tuple[Waiting, Answer]]:
        """Everybody's answer, as it is ready; nobody waits afterwards. Each bundle has a run of its
        own, and a robot alone with one its own run."""
        waiting, self._waiting = self._waiting, []
        groups: dict[str, list[Waiting]] = {}
        for one in waiting:
            groups.setdefault(one.robot.digest, []).append(one)
        for group in groups.values():
            outcomes = self._run(group) if len(group) > 1 else [None]
            for one, outcome in zip(group, outcomes, strict=True):
                yield one, one.robot.decide(one.observation, outcome)

    def _run(self, group: list[Waiting]) -> list[Action | Exception] | list[None]:
        bundle = group[0].robot.mind.bundle
        try:
            batch = self._batches.pop(bundle.digest, None) or Batch(bundle)
            self._batches[bundle.digest] = batch
            if len(self._batches) > MODELS:
                del self._batches[next(iter(self._batches))]
            return batch.act([(one.robot.mind.adapter, one.observation.payload) for one in group])
        # Buffers that could not be had, say: each can still be answered by itself.
        except Exception:
            return [None] * len(group)
