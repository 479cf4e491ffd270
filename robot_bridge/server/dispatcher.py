"""What becomes of each frame that peers send."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.guard import GuardSettings
from robot_bridge.errors import CodecError, VersionError
from robot_bridge.protocol.codec import (
    Frame,
    decode,
    decode_message,
)
from robot_bridge.protocol.handshake import check_served
from robot_bridge.protocol.messages import (
    RELEASED,
    STOP_GIVEN,
    STOPPED,
    Event,
    Heartbeat,
    Hello,
    Kind,
    Outcome,
    Ready,
    Stop,
)
from robot_bridge.protocol.operator_messages import StageStatus
from robot_bridge.safety.deadline_monitor import PaceSettings
from robot_bridge.safety.stop_registry import Stops
from robot_bridge.server.admission import Reception
from robot_bridge.server.control_service import Answering
from robot_bridge.server.operator_service import Desk
from robot_bridge.server.peer import Peer
from robot_bridge.server.session_registry import REASON, Roster
from robot_bridge.session.belief_recovery import Recollection
from robot_bridge.session.belief_store import BeliefStore
from robot_bridge.session.model_registry import Models
from robot_bridge.session.robot_session import Robot
from robot_bridge.system.log import Log
from robot_bridge.telemetry.observers import Taps
from robot_bridge.telemetry.records import ClockRecord
from robot_bridge.transport.access_policy import Gate, OpenGate

HEARTBEAT = 0.5  # between signs of life to every peer [s]
JOINING = 1.0  # that workers get to come to their end, all together [s]


class Peers:
    """send(address, data): False when the peer is gone. log: see `Journal`. taps: who else
    is told. shadow: compute, never command. gate: who may be whom, and the way out. guard, pace: of
    every robot. store: where beliefs outlive the bridge. open_bundle: reads a further model as the
    first was. stages: how long each stage of the work takes. together: answer observations that are
    there at once by one run of the policy; `flush` has to follow then. stopped: begin with a stop
    of every robot."""

    def __init__(
        self,
        bundle: PolicyBundle,
        send: Callable[[bytes, bytes], bool],
        seed: int,
        validity_ns: int,
        log: Log,
        taps: Taps | None = None,
        shadow: bool = False,
        gate: Gate | None = None,
        guard: GuardSettings | None = None,
        pace: PaceSettings | None = None,
        store: BeliefStore | None = None,
        open_bundle: Callable[[Path], PolicyBundle] = PolicyBundle.load,
        stages: Callable[[], Sequence[StageStatus]] = tuple,
        together: bool = False,
        stopped: bool = False,
    ) -> None:
        check_served(bundle)
        self._taps = taps or Taps(())
        self._models = models = Models(bundle, open_bundle)
        self._stops = Stops()
        self._roster = roster = Roster(send, log, self._taps)
        self._recollection = Recollection(store, roster.tell)

        def make(hello: Hello) -> Robot:
            return Robot(
                hello.name,
                models.served,
                seed,
                hello.simulated_time,
                validity_ns,
                self._taps,
                shadow,
                guard,
                pace,
            )

        self._reception = Reception(
            roster, gate or OpenGate(), models, self._stops, self._recollection, make, shadow
        )
        self._desk = Desk(roster, models, self._stops, stages, shadow)
        if stopped:
            self._desk.give_stop("", "the bridge begins stopped")
        self._answering = Answering(roster, self._taps, self._desk.give_stop, self.faulty, together)
        answering = self._answering
        self.flush, self.teach, self.rest = answering.flush, answering.teach, answering.rest
        self._heartbeat_due = 0.0
        self._robots_may: dict[Kind, Callable[[Peer, Robot, Frame], None]] = {
            Kind.OBSERVATION: self._answering.observation,
            Kind.READY: lambda _, robot, frame: robot.ready(decode_message(frame, Ready)),
            Kind.EPISODE_END: lambda _, robot, frame: robot.end(decode_message(frame, Outcome)),
            Kind.EVENT: self._robot_event,
            Kind.HEARTBEAT: self._robot_heartbeat,
            Kind.STOP: lambda peer, _, frame: self._desk.stop(peer, frame),
        }
        self._operators_may: dict[Kind, Callable[[Peer, Frame], None]] = {
            Kind.BEGIN: self._desk.begin,
            Kind.STOP: self._desk.stop,
            Kind.RELEASE: self._desk.release,
            Kind.MODEL: self._desk.model,
            Kind.BELIEF: self._desk.belief,
            Kind.STATUS: self._desk.status,
        }

    @property
    def settling(self) -> bool:
        """Whether some robot's episode is over but not yet learnt from."""
        return any(peer.robot and peer.robot.settling for peer in self._roster)

    def robots(self) -> dict[str, Peer]:
        """Robots by name."""
        return self._roster.robots()

    def take(self, address: bytes, data: bytes) -> None:
        """Act on one frame. Raises CodecError when it is malformed."""
        received_ns = time.monotonic_ns()
        frame = decode(data)
        # Whatever else happens, happens after what came before it.
        if frame.kind is not Kind.OBSERVATION and self._answering.waits:
            self.flush()
        if frame.kind is Kind.HELLO:
            hello = decode_message(frame, Hello)
            self._reception.greet(address, hello, frame.version, received_ns)
            return
        peer = self._roster.get(address)
        if peer is None or frame.session != peer.session:
            reason = "the bridge does not know this session; connect anew"
            self._roster.refuse(address, [reason])
            self._reception.weigh(address)
            return
        self._reception.hear(peer, received_ns)
        if frame.kind is Kind.BYE:
            self._reception.drop(peer, "robot_left", "the driver said goodbye")
        elif peer.robot and frame.kind in self._robots_may:
            self._robots_may[frame.kind](peer, peer.robot, frame)
        elif not peer.robot and frame.kind in self._operators_may:
            self._operators_may[frame.kind](peer, frame)
        else:
            role = "robot" if peer.robot else "operator"
            self._roster.refuse(address, [f"{frame.kind.name} is not for a {role} to send"])

    def faulty(self, address: bytes, error: Exception) -> None:
        """Acting on one frame failed by a fault of ours: people hear of it, the loop goes on."""
        peer = self._roster.get(address)
        self._roster.tell("bridge_fault", peer.name if peer else "", repr(error))

    def garbled(self, address: bytes, error: CodecError) -> None:
        """A frame could not be read. Its sender's silence is bridged by the sender's own safety."""
        self.flush()
        peer = self._roster.get(address)
        if peer is not None:
            self._roster.tell("frame_refused", peer.name, str(error), peer)
            self._reception.weigh(address)
            return
        self._roster.log("frame_refused", f"from an unknown peer: {error}")
        self._reception.weigh(address)
        if isinstance(error, VersionError):
            self._roster.refuse(address, [str(error)], error.version)

    def announce(self, name: str, text: str) -> None:
        """Tell of something that concerns no robot."""
        self._roster.tell(name, "", text)

    def tend(self) -> None:
        """What is due without being asked: records, events, signs of life."""
        for peer in self._roster:
            if peer.robot is None:
                continue
            try:
                self._settle(peer, peer.robot)
            except Exception as error:
                # Its episode cannot be ended in order; the next one begins anew.
                self.faulty(peer.address, error)
        self._desk.tend()
        self._recollection.tend()
        for name, text in self._taps.troubles():
            self._roster.tell(name, "", text)
        for text in self._taps.problems():
            self._roster.tell("tap_failed", "", text)
        now = time.monotonic()
        if now >= self._heartbeat_due:
            self._heartbeat_due = now + HEARTBEAT
            for peer in self._roster:
                self._reception.check(peer)

    def _settle(self, peer: Peer, robot: Robot) -> None:
        for record in robot.finished():
            if peer.operator is not None:
                self._roster.send(peer.operator, record)
            peer.operator = None
        self._recollection.save(robot)
        self._answering.news(peer, robot)

    def dismiss(self, reason: str) -> None:
        """Stop every robot and send every peer away."""
        for peer in self._roster:
            self._roster.send(peer, Stop(reason[:REASON], closing=True))
        # Only now: a worker that hangs must not keep the next robot from its stop.
        robots = [peer.robot for peer in self._roster if peer.robot is not None]
        self._roster.clear()
        try:
            for robot in robots:
                robot.close()
                self._recollection.save(robot)
            deadline = time.monotonic() + JOINING
            for robot in robots:
                robot.join(max(0.0, deadline - time.monotonic()))
        finally:
            self._recollection.close()

    def _robot_event(self, peer: Peer, robot: Robot, frame: Frame) -> None:
        event = decode_message(frame, Event)
        if event.name == STOP_GIVEN:
            # Operators answer the stops that they have heard of: nobody else may count them.
            self._roster.refuse(peer.address, [f"{STOP_GIVEN} is for the bridge alone to say"])
            return
        number = 0
        if event.name in (STOPPED, RELEASED):
            number = event.number
            self._stops.heard(peer.name, number, stopped=event.name == STOPPED)
        if event.name == STOPPED:
            robot.refused()
        self._roster.tell(event.name, peer.name, event.text, number=number)

    def _robot_heartbeat(self, peer: Peer, robot: Robot, frame: Frame) -> None:
        heartbeat = decode_message(frame, Heartbeat)
        peer.heartbeat = heartbeat
        offset_ns, round_trip_ns = heartbeat.clock_offset_ns, heartbeat.round_trip_ns
        if offset_ns is not None and round_trip_ns is not None:
            self._taps.clock(ClockRecord(peer.name, peer.heard_ns, offset_ns, round_trip_ns))
        # Its own words may have been lost on the way; without the number nobody could release it.
        if self._stops.heard(peer.name, heartbeat.latch, heartbeat.stopped):
            text = f"it has stopped {heartbeat.latch} times by itself"
            self._roster.tell(STOPPED, peer.name, text, number=heartbeat.latch)
