"""Answers observations, and stops robots that are answered too late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from robot_bridge.errors import described
from robot_bridge.protocol.codec import Frame, decode_observation, encode_command
from robot_bridge.protocol.messages import Observation, fault_names
from robot_bridge.server.inference_batcher import InferenceBatcher, Waiting
from robot_bridge.server.operator_service import OperatorService
from robot_bridge.server.session_registry import Peer, SessionRegistry
from robot_bridge.session.answer import Answer
from robot_bridge.session.robot_session import Open, RobotSession
from robot_bridge.telemetry.observers import Taps


class ControlService:
    """Belongs to the loop's thread.

    faulty(address, error): told of what fails for one robot
    among several. together: answer observations that are there at once by one run of the policy;
    `flush` has to follow then.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        taps: Taps,
        operators: OperatorService,
        faulty: Callable[[bytes, Exception], None],
        together: bool,
    ) -> None:
        self._registry = registry
        self._taps = taps
        self._operators = operators
        self._faulty = faulty
        self._together = together
        self._batcher = InferenceBatcher(self._apart)
        self._taught: deque[RobotSession] = deque()  # robots with something to learn from
        self._gap = False  # whether the taps have not heard of the last one
        # Whether newer observations may wait behind those that were answered last.
        self.behind = False

    @property
    def waits(self) -> bool:
        """Whether some observation waits for `flush`."""
        return bool(self._batcher)

    def observation(self, peer: Peer, robot: RobotSession, frame: Frame) -> None:
        """Answer one observation, at once or in one run of the policy with others."""
        observation = decode_observation(frame)
        if self._together and self._registry.several:
            answer = self._gather(peer, robot, observation)
            if answer is Open.POLICY:
                return
        else:
            answer = robot.answer(observation, peer.heard_ns)
        self._give(peer, robot, observation, answer, peer.heard_ns)

    def pass_over(self, peer: Peer, robot: RobotSession, frame: Frame) -> None:
        """Judge an observation behind which a newer one of this robot waits: only where it does not
        let the policy act is it answered."""
        observation = decode_observation(frame)
        if self._batcher.holds(robot):
            self.flush()
        answer = robot.ask(observation, peer.heard_ns)
        if answer is not Open.POLICY:
            self._give(peer, robot, observation, answer, peer.heard_ns)
            return
        robot.pass_over()
        self._look_after(peer, robot, observation, peer.heard_ns, peer.heard_ns)
        self.news(peer, robot)

    def flush(self) -> None:
        """Answer every observation that waits for others."""
        if not self._batcher:
            return
        for (peer, robot, observation, received_ns), answer in self._batcher.answers():
            self._registry.act_for(peer.address)
            try:
                self._give(peer, robot, observation, answer, received_ns)
            # A failure for one robot must not cost the others their answers.
            except Exception as error:
                self._faulty(peer.address, error)

    def teach(self, here: bool = False) -> None:
        """Give the robots' workers what can be learnt from since the last call. To be called when
        the answers have left: before, a worker would compete with them for the interpreter.
        here: let one robot learn on this thread instead, where that is short."""
        while self._taught:
            self._taught.popleft().episodes.hand_over(here)
            self._gap = not self._taught
            if here:
                # The next frame waits for one lesson at most.
                return

    def rest(self) -> None:
        """Tell the taps that the answers have left and the loop is idle."""
        if self._gap:
            self._gap = False
            self._taps.gap()

    def news(self, peer: Peer, robot: RobotSession) -> None:
        """Tell the events of a robot since the last call."""
        for name, text in robot.episodes.events():
            self._registry.tell(name, peer.name, text, peer)

    def _gather(
        self, peer: Peer, robot: RobotSession, observation: Observation
    ) -> Answer | Literal[Open.POLICY] | None:
        """The answer, or POLICY where a shared run will give it."""
        batcher = self._batcher
        if batcher.holds(robot):
            # A robot's observations are answered in their order.
            self.flush()
        answer = robot.ask(observation, peer.heard_ns)
        if answer is Open.POLICY:
            batcher.add(Waiting(peer, robot, observation, peer.heard_ns))
            if batcher.full:
                self.flush()
        return answer

    def _apart(self, waiting: Sequence[Waiting], error: Exception) -> None:
        text = f"{described(error)}; this model's robots have runs of their own from now on"
        for one in waiting:
            self._registry.tell("shared_run_failed", one.peer.name, text, one.peer)

    def _give(
        self,
        peer: Peer,
        robot: RobotSession,
        observation: Observation,
        answer: Answer | None,
        received_ns: int,
    ) -> None:
        if answer is not None:
            decided_ns = time.monotonic_ns()
            data = encode_command(answer.command, peer.session, (received_ns, decided_ns))
            self._registry.post(peer.address, data)
            sent_ns = time.monotonic_ns()
            # Everything that the answer does not need comes after it.
            robot.answered(observation, answer)
            # Once each, for a loop that is too busy to call `teach`.
            if robot not in self._taught:
                self._taught.append(robot)
            if self._taps:
                times = received_ns, decided_ns, sent_ns
                simulated = robot.simulated_time
                self._taps.step(answer.record(robot.name, observation, *times, simulated))
                if answer.failure is not None:
                    self._registry.record(answer.failure[0], robot.name, answer.failure[1])
            self._look_after(peer, robot, observation, received_ns, sent_ns)
        self.news(peer, robot)

    def _look_after(
        self,
        peer: Peer,
        robot: RobotSession,
        observation: Observation,
        received_ns: int,
        sent_ns: int,
    ) -> None:
        """Stop a robot that is answered too late, and have each new fault that it reports
        latched."""
        if not robot.simulated_time and not robot.halted:
            self._check_pace(peer, robot, observation.time_ns, received_ns, sent_ns)
        faults, before = observation.faults, robot.faults
        robot.faults = faults
        if faults & ~before or (faults and not robot.halted):
            self._operators.latch_fault(peer.name, robot, f"it reported {fault_names(faults)}")

    def _check_pace(
        self, peer: Peer, robot: RobotSession, stamp_ns: int, received_ns: int, sent_ns: int
    ) -> None:
        word = robot.pace.note(stamp_ns, received_ns, sent_ns)
        self.behind |= robot.pace.behind
        if not word:
            return
        text = f"{robot.pace.share:.0%} of the last answers were late, by the bridge's own clock"
        if word == "slipping":
            self._registry.tell("rate_slipping", peer.name, text, peer)
            return
        # A robot that gets its commands too late is safer without them.
        self._operators.give_stop(peer.name, f"rate_lost: {text}")
        self._registry.tell("rate_lost", peer.name, text, peer)
