"""Who is connected, and what becomes of each frame they send."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from adapt.bundle import PolicyBundle
from robot_bridge.codec import (
    Frame,
    decode,
    decode_message,
    decode_observation,
    decode_stop,
    encode_command,
    encode_message,
)
from robot_bridge.errors import BridgeError, CodecError, VersionError
from robot_bridge.handshake import common_version, differences, spoken, welcome
from robot_bridge.messages import (
    OLDEST,
    PROTOCOL,
    RELEASE_REFUSED,
    RELEASED,
    STOP_GIVEN,
    STOPPED,
    Begin,
    Event,
    Heartbeat,
    Hello,
    Kind,
    Message,
    Observation,
    Outcome,
    Ready,
    Refused,
    Release,
    Stop,
    Welcome,
)
from robot_bridge.robot import Answer, Robot
from robot_bridge.stops import Stops
from robot_bridge.tap import EventRecord, StepRecord
from robot_bridge.taps import Taps

HEARTBEAT = 0.5  # between signs of life to every peer [s]
SILENCE = 3.0  # of a robot before its operators are told [s]
REASON = 1000  # characters of a text put together here: few enough for every bound on the wire
REASONS = 15  # of one refusal: even in four-byte characters they fit a frame


@dataclass(eq=False)
class Peer:
    """A connection after its handshake. robot: None for an operator. operator: who began the
    robot's episode. heard_ns: when it last said anything [ns]; silent: for so long that it has been
    told. heartbeat: a robot's latest."""

    address: bytes
    session: int
    name: str
    robot: Robot | None
    operator: Peer | None = None
    heard_ns: int = 0
    silent: bool = False
    heartbeat: Heartbeat | None = None


class Peers:
    """send(address, data): False when the peer is gone. log: one line for people. taps: who else
    is told. shadow: compute, never command."""

    def __init__(
        self,
        bundle: PolicyBundle,
        send: Callable[[bytes, bytes], bool],
        seed: int,
        validity_ns: int,
        log: Callable[[str], None],
        taps: Taps | None = None,
        shadow: bool = False,
    ) -> None:
        self._bundle = bundle
        self._shadow = shadow
        self._stops = Stops()
        self._post = send
        self._seed = seed
        self._validity_ns = validity_ns
        self._log = log
        self._taps = taps or Taps(())
        self._received_ns = 0  # of the frame being acted on
        self._peers: dict[bytes, Peer] = {}
        self._heartbeat_due = 0.0
        self._robots_may: dict[Kind, Callable[[Peer, Robot, Frame], None]] = {
            Kind.OBSERVATION: self._observation,
            Kind.READY: lambda _, robot, frame: robot.ready(decode_message(frame, Ready)),
            Kind.EPISODE_END: lambda _, robot, frame: robot.end(decode_message(frame, Outcome)),
            Kind.EVENT: self._robot_event,
            Kind.HEARTBEAT: self._robot_heartbeat,
            Kind.STOP: lambda peer, _, frame: self._stop(peer, frame),
        }
        self._operators_may: dict[Kind, Callable[[Peer, Frame], None]] = {
            Kind.BEGIN: self._begin,
            Kind.STOP: self._stop,
            Kind.RELEASE: self._release,
        }

    @property
    def settling(self) -> bool:
        """Whether some robot's episode is over but not yet learnt from."""
        return any(peer.robot and peer.robot.settling for peer in self._peers.values())

    def take(self, address: bytes, data: bytes) -> None:
        """Act on one frame. Raises CodecError when it is malformed."""
        self._received_ns = time.monotonic_ns()
        frame = decode(data)
        if frame.kind is Kind.HELLO:
            self._greet(address, decode_message(frame, Hello), frame.version)
            return
        peer = self._peers.get(address)
        if peer is None or frame.session != peer.session:
            self._refuse(address, ["the bridge does not know this session; connect anew"])
            return
        self._hear(peer)
        if frame.kind is Kind.BYE:
            self._drop(peer, "robot_left", "the driver said goodbye")
        elif peer.robot and frame.kind in self._robots_may:
            self._robots_may[frame.kind](peer, peer.robot, frame)
        elif not peer.robot and frame.kind in self._operators_may:
            self._operators_may[frame.kind](peer, frame)
        else:
            role = "robot" if peer.robot else "operator"
            self._refuse(address, [f"{frame.kind.name} is not for a {role} to send"])

    def garbled(self, address: bytes, error: CodecError) -> None:
        """A frame could not be read. Its sender's silence is bridged by the sender's own safety."""
        peer = self._peers.get(address)
        if peer is not None:
            self._tell("frame_refused", peer.name, str(error), peer)
            return
        self._log(f"frame_refused: from an unknown peer: {error}")
        if isinstance(error, VersionError):
            self._refuse(address, [str(error)], error.version)

    def tend(self) -> None:
        """What is due without being asked: records, events, signs of life."""
        for peer in list(self._peers.values()):
            if peer.robot is None:
                continue
            for record in peer.robot.finished():
                if peer.operator is not None:
                    self._send(peer.operator, record)
                peer.operator = None
            self._news(peer, peer.robot)
        for name, text in self._taps.troubles():
            self._tell(name, "", text, None)
        for text in self._taps.problems():
            self._tell("tap_failed", "", text, None)
        now = time.monotonic()
        if now >= self._heartbeat_due:
            self._heartbeat_due = now + HEARTBEAT
            for peer in list(self._peers.values()):
                self._check(peer)

    def dismiss(self, reason: str) -> None:
        """Stop every robot and send every peer away."""
        for peer in self._peers.values():
            self._send(peer, _stop(reason, closing=True))
        # Only now: a worker that hangs must not keep the next robot from its stop.
        for peer in self._peers.values():
            if peer.robot is not None:
                peer.robot.close()
        self._peers.clear()

    def _hear(self, peer: Peer) -> None:
        peer.heard_ns = self._received_ns
        if peer.silent:
            peer.silent = False
            self._tell("robot_heard", peer.name, "it speaks again", None)

    def _greet(self, address: bytes, hello: Hello, version: int) -> None:
        # Whoever is gone without a word makes room now, not at the next sign of life.
        for peer in list(self._peers.values()):
            if peer.name == hello.name or peer.address == address:
                self._check(peer)
        problems: list[str] = []
        agreed = common_version(version, hello)
        if agreed is None:
            oldest, newest = spoken(version, hello)
            problems.append(
                f"protocol versions: this bridge speaks {OLDEST} to {PROTOCOL}, the peer {oldest} "
                f"to {newest}"
            )
        elif hello.role == "robot":
            problems += differences(self._bundle.manifest, self._bundle.digest, hello)
        if address in self._peers:
            problems.append("this connection has shaken hands already")
        elif hello.role == "robot" and hello.name in self._robots():
            problems.append(f"a robot named {hello.name!r} is connected already")
        if problems or agreed is None:
            self._log(f"refused: {hello.role} {hello.name!r}: {'; '.join(problems)}")
            self._refuse(address, problems, version)
            return
        robot = None
        if hello.role == "robot":
            robot = Robot(
                hello.name,
                self._bundle,
                self._seed,
                hello.simulated_time,
                self._validity_ns,
                self._taps,
                self._shadow,
            )
        peer = Peer(address, 1 + secrets.randbelow(2**62), hello.name, robot)
        peer.heard_ns = self._received_ns
        self._peers[address] = peer
        self._send(peer, self._welcome(peer, agreed))
        if robot is not None and self._stops.standing(peer.name):
            robot.halt(f"stop {self._stops.concerning(peer.name)} stands")
        self._log(f"connected: {hello.role} {hello.name!r}")
        if robot is not None:
            self._tell("robot_connected", hello.name, "ready for episodes", None)

    def _welcome(self, peer: Peer, version: int) -> Welcome:
        stops = self._stops
        of_robot = peer.robot is not None
        return welcome(
            self._bundle,
            peer.session,
            list(self._robots()),
            version=version,
            shadow=self._shadow,
            stop=stops.concerning(peer.name) if of_robot else stops.number,
            latches=stops.latches,
            stopped=of_robot and stops.stopped(peer.name),
        )

    def _observation(self, peer: Peer, robot: Robot, frame: Frame) -> None:
        observation = decode_observation(frame)
        answer = robot.answer(observation)
        if answer is not None:
            decided_ns = time.monotonic_ns()
            command = replace(
                answer.command, received_ns=self._received_ns, sent_ns=time.monotonic_ns()
            )
            self._post(peer.address, encode_command(command, peer.session))
            if self._taps:
                self._record(robot, observation, answer, decided_ns)
        # After the answer, which nothing delays, and before the next one.
        self._news(peer, robot)

    def _record(
        self, robot: Robot, observation: Observation, answer: Answer, decided_ns: int
    ) -> None:
        belief, command = answer.belief, answer.command
        self._taps.step(
            StepRecord(
                robot=robot.name,
                sequence=observation.sequence,
                robot_time_ns=observation.time_ns,
                received_ns=self._received_ns,
                decided_ns=decided_ns,
                sent_ns=time.monotonic_ns(),
                observation=observation.payload,
                reward=observation.reward,
                flags=int(observation.flags),
                faults=observation.faults,
                wanted=answer.wanted,
                command=command.payload,
                mode=command.mode,
                latent=answer.latent,
                belief_mean=belief.mean,
                belief_variance=belief.variance,
                belief_count=belief.count,
                belief_version=belief.version,
                latent_version=answer.latent_version,
                digest=robot.digest,
                shadow=command.shadow,
            )
        )

    def _news(self, peer: Peer, robot: Robot) -> None:
        for name, text in robot.events():
            self._tell(name, peer.name, text, peer)

    def _robot_event(self, peer: Peer, robot: Robot, frame: Frame) -> None:
        event = decode_message(frame, Event)
        if event.name == STOPPED:
            robot.refused()
            self._stops.heard(peer.name, event.number, stopped=True)
        elif event.name == RELEASED:
            self._stops.heard(peer.name, event.number, stopped=False)
        self._tell(event.name, peer.name, event.text, None, event.number)

    def _robot_heartbeat(self, peer: Peer, robot: Robot, frame: Frame) -> None:
        heartbeat = decode_message(frame, Heartbeat)
        peer.heartbeat = heartbeat
        # Its own words may have been lost on the way; without the number nobody could release it.
        if self._stops.heard(peer.name, heartbeat.latch, heartbeat.stopped):
            text = f"it has stopped {heartbeat.latch} times by itself"
            self._tell(STOPPED, peer.name, text, None, heartbeat.latch)

    def _begin(self, operator: Peer, frame: Frame) -> None:
        begin = decode_message(frame, Begin)
        peer = self._find(operator, begin.robot)
        if peer is None or peer.robot is None:
            return
        try:
            reset = peer.robot.begin(begin)
        except BridgeError as error:
            self._send(operator, Event("begin_refused", peer.name, str(error)))
            return
        peer.operator = operator
        self._send(peer, reset)

    def _stop(self, giver: Peer, frame: Frame) -> None:
        stop = decode_stop(frame)
        number = self._stops.give(stop.robot)
        reason = f"{'robot' if giver.robot else 'operator'} {giver.name!r}: {stop.reason}"
        robots = self._robots()
        for peer in robots.values():
            if stop.robot in ("", peer.name):
                self._send(peer, _stop(reason, number=number, robot=stop.robot))
        for peer in robots.values():
            if peer.robot is not None and stop.robot in ("", peer.name):
                peer.robot.halt(f"stop {number} stands")
        if stop.robot and stop.robot not in robots:
            reason += "; it is not connected, and starts stopped when it is"
        self._tell(STOP_GIVEN, stop.robot, reason, None, number)

    def _release(self, operator: Peer, frame: Frame) -> None:
        release = decode_message(frame, Release)
        peer = self._find(operator, release.robot)
        if peer is None or peer.robot is None:
            return
        refusal = self._stops.release(peer.name, release)
        if refusal:
            self._tell(RELEASE_REFUSED, peer.name, refusal, None)
            return
        self._log(f"released: robot {peer.name!r} by operator {operator.name!r}")
        self._send(peer, Release(peer.name, release.stop, release.latch))
        peer.robot.unhalt()

    def _find(self, operator: Peer, name: str) -> Peer | None:
        """The robot of that name, or the only one; None after telling the operator why not."""
        robots = self._robots()
        if name in robots:
            return robots[name]
        if not name and len(robots) == 1:
            return next(iter(robots.values()))
        asked = f"no robot named {name!r}" if name else "which robot is not said"
        text = f"{asked}; connected: {', '.join(robots) or 'none'}"
        self._send(operator, Event("robot_unknown", name, text))
        return None

    def _robots(self) -> dict[str, Peer]:
        return {peer.name: peer for peer in self._peers.values() if peer.robot}

    def _check(self, peer: Peer) -> None:
        stops = self._stops
        latest = stops.number if peer.robot is None else stops.concerning(peer.name)
        data = encode_message(Heartbeat(latest), session=peer.session)
        if not self._post(peer.address, data):
            self._drop(peer, "robot_lost", "its connection broke")
            return
        quiet = (time.monotonic_ns() - peer.heard_ns) / 1e9
        if peer.robot is not None and quiet > SILENCE and not peer.silent:
            peer.silent = True
            self._tell("robot_silent", peer.name, f"nothing from it for {quiet:.1f} s", None)

    def _drop(self, peer: Peer, name: str, text: str) -> None:
        if self._peers.pop(peer.address, None) is None:
            return
        if peer.robot is None:
            self._log(f"left: operator {peer.name!r}")
            for other in self._peers.values():
                if other.operator is peer:
                    other.operator = None
            return
        peer.robot.close()
        self._tell(name, peer.name, text, None)

    def _tell(self, name: str, robot: str, text: str, peer: Peer | None, number: int = 0) -> None:
        """An event, to the journal, to every operator and, where given, to the peer concerned."""
        event = Event(name, robot, text[:4000], number)
        self._log(f"{name}: robot {robot!r}: {text}")
        for other in list(self._peers.values()):
            if other.robot is None or other is peer:
                self._send(other, event)
        if self._taps:
            self._taps.event(EventRecord(time.monotonic_ns(), name, robot, text))

    def _send(self, peer: Peer, message: Message) -> None:
        # A peer found gone here is dropped at the next sign of life, which is due soon.
        self._post(peer.address, encode_message(message, session=peer.session))

    def _refuse(self, address: bytes, reasons: list[str], version: int = PROTOCOL) -> None:
        """version: of the frame refused, so that its sender can read the answer."""
        kept = [reason[:REASON] for reason in reasons[:REASONS]]
        if len(reasons) > len(kept):
            kept.append(f"and {len(reasons) - len(kept)} more")
        self._post(address, encode_message(Refused(tuple(kept)), version=version))


def _stop(reason: str, closing: bool = False, number: int = 0, robot: str = "") -> Stop:
    # One word too many, and the robot's decoder would refuse the stop.
    return Stop(reason[:REASON], closing, number, robot)
