"""Acts on each frame that peers send."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adapt.bundle.policy_bundle import PolicyBundle
from adapt.guard import GuardSettings
from adapt.prior import MeasuredPrior
from robot_bridge.errors import CodecError, VersionError, described
from robot_bridge.probing.limits import ProbeSettings
from robot_bridge.protocol.codec import (
    Frame,
    decode,
    decode_message,
)
from robot_bridge.protocol.handshake import check_served
from robot_bridge.protocol.messages import (
    BRIDGE_ONLY,
    PROTOCOL,
    RELEASED,
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
from robot_bridge.protocol.timing import HEARTBEAT
from robot_bridge.safety.deadline_monitor import DeadlineSettings
from robot_bridge.safety.spacing import SpacingSettings
from robot_bridge.safety.stop_registry import StopRegistry
from robot_bridge.server.admission import Admission
from robot_bridge.server.control_service import ControlService
from robot_bridge.server.load_meter import LoadMeter
from robot_bridge.server.operator_service import OperatorService
from robot_bridge.server.session_registry import REASON, Peer, SessionRegistry
from robot_bridge.session.belief_store import BeliefRecovery, BeliefStore
from robot_bridge.session.model_registry import ModelRegistry
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.system.log import Log
from robot_bridge.telemetry.observers import Taps
from robot_bridge.telemetry.records import ClockRecord
from robot_bridge.transport.access_policy import AccessPolicy, OpenAccess

EVERY = ""  # the name under which the prior of all other robots stands
JOINING = 1.0  # that workers get to come to their end, all together [s]


class Dispatcher:
    """send(address, data): False when the peer is gone. log: see `Journal`. taps: observers.
    shadow: compute, never command. gate: which peer may have which name, and how peers are
    disconnected. guard, pace, spacing: of every robot. store: where beliefs outlive the bridge.
    open_bundle: reads a further model as the first was. stages: how long each stage of the work
    takes. together: answer observations that are there at once by one run of the policy; `flush`
    has to follow then. stopped: begin with a stop of every robot. priors: measured, by robot, and
    under EVERY that of the others. probe: how robots are let probe. load: whether there is room for
    a further robot."""

    def __init__(
        self,
        bundle: PolicyBundle,
        send: Callable[[bytes, bytes], bool],
        seed: int,
        validity_ns: int,
        log: Log,
        taps: Taps | None = None,
        shadow: bool = False,
        gate: AccessPolicy | None = None,
        guard: GuardSettings | None = None,
        pace: DeadlineSettings | None = None,
        store: BeliefStore | None = None,
        open_bundle: Callable[[Path], PolicyBundle] = PolicyBundle.load,
        stages: Callable[[], Sequence[StageStatus]] = tuple,
        together: bool = False,
        stopped: bool = False,
        spacing: SpacingSettings | None = None,
        priors: Mapping[str, MeasuredPrior] | None = None,
        probe: ProbeSettings | None = None,
        load: LoadMeter | None = None,
    ) -> None:
        check_served(bundle)
        self._taps = taps or Taps(())
        self._models = models = ModelRegistry(bundle, open_bundle)
        self._stops = StopRegistry()
        self._registry = registry = SessionRegistry(send, log, self._taps)
        self._recovery = BeliefRecovery(store, registry.tell)

        measured = priors or {}

        def make(hello: Hello) -> RobotSession:
            return RobotSession(
                hello.name,
                models.served,
                seed,
                hello.simulated_time,
                validity_ns,
                self._taps,
                shadow,
                guard,
                pace,
                spacing,
                measured.get(hello.name, measured.get(EVERY)),
                probe,
                hello.probes,
            )

        self._load = load or LoadMeter()
        gate = gate or OpenAccess()
        self._admission = Admission(
            registry, gate, models, self._stops, self._recovery, make, shadow, self._load
        )
        self._operators = OperatorService(registry, models, self._stops, stages, shadow)
        if stopped:
            self._operators.give_stop("", "the bridge begins stopped")
        self._control = ControlService(registry, self._taps, self._operators, self.faulty, together)
        control = self._control
        self.flush, self.teach, self.rest = control.flush, control.teach, control.rest
        self.settling = False  # whether some robot's episode is over but not yet learnt from
        self._heartbeat_due = 0.0
        self._tended_at = time.monotonic()
        self._robots_may: dict[Kind, Callable[[Peer, RobotSession, Frame], None]] = {
            Kind.OBSERVATION: self._control.observation,
            Kind.READY: lambda _, robot, frame: robot.episodes.ready(decode_message(frame, Ready)),
            Kind.EPISODE_END: self._episode_end,
            Kind.EVENT: self._robot_event,
            Kind.HEARTBEAT: self._robot_heartbeat,
            Kind.STOP: lambda peer, _, frame: self._operators.stop(peer, frame),
        }
        self._operators_may: dict[Kind, Callable[[Peer, Frame], None]] = {
            Kind.BEGIN: self._operators.begin,
            Kind.STOP: self._operators.stop,
            Kind.RELEASE: self._operators.release,
            Kind.MODEL: self._operators.model,
            Kind.BELIEF: self._operators.belief,
            Kind.STATUS: self._operators.status,
        }

    def robots(self) -> dict[str, Peer]:
        """Robots by name."""
        return self._registry.robots()

    def behind(self) -> bool:
        """Whether newer observations of a robot may wait behind those that were answered since the
        last call; see `backlog`."""
        behind, self._control.behind = self._control.behind, False
        return behind

    def take(self, address: bytes, data: bytes, superseded: bool = False) -> None:
        """Act on one frame. superseded: an observation behind which a newer one of the same robot
        waits. Raises CodecError when it is malformed."""
        received_ns = time.monotonic_ns()
        frame = decode(data)
        # Observations that came before this frame are answered before it is acted on.
        if frame.kind is not Kind.OBSERVATION and self._control.waits:
            self.flush()
        peer = self._registry.act_for(address)
        if frame.kind is Kind.HELLO:
            hello = decode_message(frame, Hello)
            self._admission.greet(address, hello, frame.version, received_ns)
            return
        if peer is None or frame.session != peer.session:
            reason = "the bridge does not know this session; connect anew"
            self._registry.refuse(address, [reason])
            self._admission.weigh(address, stale=peer is None)
            return
        peer.heard_ns = received_ns
        if peer.silent:
            self._admission.hear_again(peer)
        if peer.robot and superseded:
            self._control.pass_over(peer, peer.robot, frame)
        elif peer.robot and frame.kind in self._robots_may:
            self._robots_may[frame.kind](peer, peer.robot, frame)
        elif not peer.robot and frame.kind in self._operators_may:
            self._operators_may[frame.kind](peer, frame)
        elif frame.kind is Kind.BYE:
            self._admission.drop(peer, "robot_left", "the driver said goodbye")
        else:
            role = "robot" if peer.robot else "operator"
            self._registry.refuse(address, [f"{frame.kind.name} is not for a {role} to send"])

    def faulty(self, address: bytes, error: Exception) -> None:
        """Tell of a fault of the bridge's own while it acted on a frame; the loop goes on."""
        peer = self._registry.act_for(address)
        self._registry.tell("bridge_fault", peer.name if peer else "", described(error))

    def garbled(self, address: bytes, error: CodecError) -> None:
        """Tell of a frame that could not be read. Without an answer its sender holds."""
        self.flush()
        peer = self._registry.act_for(address)
        if peer is not None:
            self._registry.tell("frame_refused", peer.name, str(error), peer)
            self._admission.weigh(address)
            return
        self._registry.log("frame_refused", f"from an unknown peer: {error}")
        self._admission.weigh(address)
        # It may be a HELLO, whose sender waits for an answer.
        version = error.version if isinstance(error, VersionError) else PROTOCOL
        self._registry.refuse(address, [str(error)], version)

    def announce(self, name: str, text: str) -> None:
        """Tell an event that concerns no robot."""
        self._registry.act_for(None)
        self._registry.tell(name, "", text)

    def tend(self) -> None:
        """Do what is due without a frame: episode records, events, heartbeats."""
        self.settling = False
        for peer in self._registry:
            if peer.robot is None:
                continue
            self._registry.act_for(peer.address)
            try:
                self._settle(peer, peer.robot)
            except Exception as error:
                # Its episode cannot be ended in order; the next one begins anew.
                self.faulty(peer.address, error)
            self.settling |= peer.robot.episodes.settling
        self._registry.act_for(None)
        self._registry.tend()
        self._operators.tend()
        self._recovery.tend()
        for name, text in self._load.news():
            self._registry.tell(name, "", text)
        for name, text in self._taps.troubles():
            self._registry.tell(name, "", text)
        for text in self._taps.problems():
            self._registry.tell("tap_failed", "", text)
        now = time.monotonic()
        held_up, self._tended_at = now - self._tended_at, now
        if held_up > HEARTBEAT:
            # The bridge itself was too slow: what peers have said meanwhile may still wait.
            for peer in self._registry:
                peer.heard_ns += round(held_up * 1e9)
        if now >= self._heartbeat_due:
            self._heartbeat_due = now + HEARTBEAT
            for peer in self._registry:
                self._admission.check(peer)

    def _settle(self, peer: Peer, robot: RobotSession) -> None:
        for record in robot.episodes.finished():
            if peer.operator is not None:
                self._registry.send(peer.operator, record)
            peer.operator = None
        self._recovery.save(robot)
        self._control.news(peer, robot)

    def dismiss(self, reason: str) -> None:
        """Stop every robot and send every peer away."""
        for peer in self._registry:
            self._registry.send(peer, Stop(reason[:REASON], closing=True))
        # After every robot has its stop: a worker may hang.
        robots = [peer.robot for peer in self._registry if peer.robot is not None]
        self._registry.clear()
        try:
            for robot in robots:
                robot.episodes.close()
                self._recovery.save(robot)
            deadline = time.monotonic() + JOINING
            for robot in robots:
                robot.episodes.join(max(0.0, deadline - time.monotonic()))
        finally:
            self._recovery.close()

    def _episode_end(self, _: Peer, robot: RobotSession, frame: Frame) -> None:
        robot.episodes.end(decode_message(frame, Outcome))
        self.settling = True

    def _robot_event(self, peer: Peer, robot: RobotSession, frame: Frame) -> None:
        event = decode_message(frame, Event)
        if event.name in BRIDGE_ONLY:
            # Operators answer the stops that they have heard of; only the bridge may number them.
            self._registry.refuse(peer.address, [f"{event.name} is for the bridge alone to say"])
            return
        number = 0
        if event.name in (STOPPED, RELEASED):
            number = event.number
            self._stops.heard(peer.name, number, stopped=event.name == STOPPED)
        if event.name == STOPPED:
            robot.episodes.refused()
        self._registry.tell(event.name, peer.name, event.text, number=number)

    def _robot_heartbeat(self, peer: Peer, robot: RobotSession, frame: Frame) -> None:
        heartbeat = decode_message(frame, Heartbeat)
        peer.heartbeat = heartbeat
        offset_ns, round_trip_ns = heartbeat.clock_offset_ns, heartbeat.round_trip_ns
        # A robot may send more of them than it should.
        due = peer.heard_ns - peer.clocked_ns > HEARTBEAT / 2 * 1e9
        if due and offset_ns is not None and round_trip_ns is not None:
            peer.clocked_ns = peer.heard_ns
            self._taps.clock(ClockRecord(peer.name, peer.heard_ns, offset_ns, round_trip_ns))
        # Its event may have been lost, and without the number no operator could release it.
        if self._stops.heard(peer.name, heartbeat.latch, heartbeat.stopped):
            text = f"it has stopped {heartbeat.latch} times by itself"
            self._registry.tell(STOPPED, peer.name, text, number=heartbeat.latch)
