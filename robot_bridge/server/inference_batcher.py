"""Observations of several robots that are answered by one run of the policy.

Only those that lie in the socket at the same time share a run, so that no robot waits for a slow
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from adapt.adapters.base import Action
from adapt.adapters.batch import ROWS, Batch
from robot_bridge.protocol.messages import Observation
from robot_bridge.server.session_registry import Peer
from robot_bridge.session.answer import Answer
from robot_bridge.session.robot_session import RobotSession

# Of the models that robots act with: the one that serves, and the one that some still have.
MODELS = 2


class Waiting(NamedTuple):
    """An observation that the policy has yet to answer. received_ns: when its frame was in, on the
    bridge's clock [ns]."""

    peer: Peer
    robot: RobotSession
    observation: Observation
    received_ns: int


class InferenceBatcher:
    """Belongs to the thread that acts.

    apart(waiting, error): told when a bundle's shared run fails. From then on each of its robots
    has runs of its own, for a failure that comes back would cost every answer two runs.
    """

    def __init__(self, apart: Callable[[Sequence[Waiting], Exception], None]) -> None:
        self._tell_apart = apart
        self._apart: set[str] = set()  # digests
        self._waiting: list[Waiting] = []
        self._batches: dict[str, Batch] = {}  # by digest, the one used last at the end

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no further robot fits into the run."""
        return len(self._waiting) >= ROWS

    def holds(self, robot: RobotSession) -> bool:
        """Whether an observation of this robot waits."""
        return any(waiting.robot is robot for waiting in self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Add one whose robot's `ask` returned POLICY."""
        self._waiting.append(waiting)

    def answers(self) -> Iterator[tuple[Waiting, Answer]]:
        """The answers to all observations that wait, as they are ready: one run of the policy for
        each bundle."""
        waiting, self._waiting = self._waiting, []
        groups: dict[str, list[Waiting]] = {}
        for one in waiting:
            groups.setdefault(one.robot.episodes.digest, []).append(one)
        for digest, group in groups.items():
            alone = len(group) == 1 or digest in self._apart
            outcomes = [None] * len(group) if alone else self._run(group)
            for one, outcome in zip(group, outcomes, strict=True):
                yield one, one.robot.decide(one.observation, outcome)

    def _run(self, group: list[Waiting]) -> list[Action | Exception] | list[None]:
        bundle = group[0].robot.policy.bundle
        try:
            batch = self._batches.pop(bundle.digest, None) or Batch(bundle)
            self._batches[bundle.digest] = batch
            if len(self._batches) > MODELS:
                del self._batches[next(iter(self._batches))]
            found = batch.act(
                [(one.robot.policy.adapter, one.observation.payload) for one in group]
            )
        # For want of memory, for example: each robot can still be answered by itself.
        except Exception as error:
            self._part(group, error)
            return [None] * len(group)
        if batch.failure:
            self._part(group, batch.failure)
        return found

    def _part(self, group: list[Waiting], error: Exception) -> None:
        digest = group[0].robot.episodes.digest
        self._apart.add(digest)
        self._batches.pop(digest, None)
        self._tell_apart(group, error)
