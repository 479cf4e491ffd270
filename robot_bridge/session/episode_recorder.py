"""The record of one episode, of bounded size."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from adapt.belief.gaussian import Belief
from robot_bridge.protocol.messages import Begin, Float32, Outcome, Ready
from robot_bridge.protocol.operator_messages import BeliefPoint, EpisodeRecord
from robot_bridge.protocol.probe_messages import ProbeReport

# Bounds of every record, for any bundle: together well below what a frame may hold,
# and packed on the loop's thread within a few milliseconds.
BELIEFS = 200  # snapshots of the belief kept of an episode ...
BELIEF_BYTES = 1024 * 1024  # ... or as many as fit here
STEPS = 2000  # steps kept of an episode ...
STEP_BYTES = 2 * 1024 * 1024  # ... or as many as fit here
EVENTS = 100
EVENT = 1000  # characters kept of one
NUMBER = 9  # bytes of a float in MessagePack

T = TypeVar("T")


class Thinned(Generic[T]):
    """At most `capacity` items, evenly spread: when full, every second one goes, and from then on
    only every second is taken."""

    def __init__(self, capacity: int) -> None:
        self._capacity = max(2, capacity)
        self._stride = 1
        self._seen = 0
        self.items: list[T] = []

    def append(self, item: T) -> None:
        if self._seen % self._stride == 0:
            if len(self.items) == self._capacity:
                del self.items[1::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self.items.append(item)
        self._seen += 1


class Episode:
    """Collects one episode and makes its record.

    begin: the operator's request, or None when the driver started it on its own. width: n_o + n_a.
    """

    def __init__(self, robot: str, begin: Begin | None, belief: Belief, width: int) -> None:
        self.robot = robot
        self.begin = begin
        self.ready = Ready()
        self.step = 0
        self.before = _point(0, belief)
        self._beliefs = _trace(belief)
        self._version = -1
        capacity = min(STEPS, STEP_BYTES // (4 * (width + 2)))
        self._steps: Thinned[tuple[int, Float32, Float32, float]] = Thinned(capacity)
        self.events: list[str] = []
        self._left_out = 0  # events

    def add(self, observation: Float32, command: Float32, reward: float, belief: Belief) -> None:
        """One answered step: observation (n_o,), command (n_a,) as sent, reward measured with the
        observation, and the belief at that time."""
        self._steps.append((self.step, observation, command, reward))
        if belief.version != self._version:
            self._beliefs.append(_point(self.step, belief))
            self._version = belief.version
        self.step += 1

    def skip(self) -> None:
        """One step in which the robot was told to stand still: counted, so that what follows keeps
        its place in time, and not kept."""
        self.step += 1

    def restart(self, belief: Belief) -> None:
        """From here on another model acts, whose belief has nothing to do with the one before."""
        self.before = _point(self.step, belief)
        self._beliefs, self._version = _trace(belief), -1

    def note(self, text: str) -> None:
        """Keep an event; beyond EVENTS they are counted."""
        if len(self.events) < EVENTS - 1:
            self.events.append(text[:EVENT])
        else:
            self._left_out += 1

    def record(
        self, outcome: Outcome, belief: Belief, probe: ProbeReport | None = None
    ) -> EpisodeRecord | None:
        """The record, with the belief after everything was learnt; None without an operator."""
        begin = self.begin
        if begin is None:
            return None
        kept = self._steps.items
        events = list(self.events)
        if self._left_out:
            events.append(f"and {self._left_out} more")
        return EpisodeRecord(
            robot=self.robot,
            task=begin.task,
            episode=begin.episode,
            seed=begin.seed,
            outcome=outcome,
            truth=self.ready.truth,
            belief_before=self.before,
            belief_after=_point(self.step, belief),
            belief_trace=tuple(self._beliefs.items),
            steps=np.array([item[0] for item in kept], "<i4").tobytes(),
            observations=np.array([item[1] for item in kept], "<f4").tobytes(),
            commands=np.array([item[2] for item in kept], "<f4").tobytes(),
            rewards=np.array([item[3] for item in kept], "<f4").tobytes(),
            events=tuple(events),
            probe=probe,
        )


def _trace(belief: Belief) -> Thinned[BeliefPoint]:
    point = 2 * NUMBER * belief.mean.size + 64
    return Thinned(min(BELIEFS, BELIEF_BYTES // point))


def _point(step: int, belief: Belief) -> BeliefPoint:
    return BeliefPoint(
        step, belief.version, tuple(belief.mean.tolist()), tuple(belief.variance.tolist())
    )
