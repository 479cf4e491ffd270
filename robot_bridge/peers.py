"""Who is connected, and what becomes of each frame they send."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import structs

from adapt.bundle import PolicyBundle
from adapt.errors import SnapshotError
from adapt.guard import GuardSettings
from robot_bridge.belief_store import BeliefStore
from robot_bridge.codec import (
    Frame,
    decode,
    decode_message,
    decode_observation,
    decode_stop,
    encode_command,
    encode_message,
)
from robot_bridge.desk import Desk
from robot_bridge.errors import BridgeError, CodecError, StateError, VersionError
from robot_bridge.gate import Gate, OpenGate
from robot_bridge.handshake import common_version, differences, spoken, welcome
from robot_bridge.journal import Log
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
from robot_bridge.models import Models
from robot_bridge.operator_messages import StageStatus
from robot_bridge.pace import PaceSettings
from robot_bridge.peer import Peer
from robot_bridge.robot import Answer, Robot
from robot_bridge.stops import Stops
from robot_bridge.tap import ClockRecord, EventRecord, StepRecord
from robot_bridge.taps import Taps

HEARTBEAT = 0.5  # between signs of life to every peer [s]
SILENCE = 3.0  # of a robot before its operators are told [s]
TEXT = 4000  # characters of an event
REASON = 1000  # characters of a text put together here: few enough for every bound on the wire
EVENTS = 50  # remembered for operators that ask
JOINING = 1.0  # that workers get to come to their end, all together [s]
REASONS = 15  # of one refusal: even in four-byte characters they fit a frame


class Peers:
    """send(address, data): False when the peer is gone. log: see `Journal`. taps: who else
    is told. shadow: compute, never command. gate: who may be whom, and the way out. guard, pace: of
    every robot. store: where beliefs outlive the bridge. open_bundle: reads a further model as the
    first was. stages: how long each stage of the work takes."""

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
    ) -> None:
        self._models = Models(bundle, open_bundle)
        self._gate = gate or OpenGate()
        self.shadow = shadow
        self._guard, self._pace = guard, pace
        self._store = store
        self._desk = Desk(self, self._models, stages)
        self._recent: deque[Event] = deque(maxlen=EVENTS)
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
            Kind.MODEL: self._desk.model,
            Kind.BELIEF: self._desk.belief,
            Kind.STATUS: self._desk.status,
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
            self._weigh(address)
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

    def faulty(self, address: bytes, error: Exception) -> None:
        """Acting on one frame failed by a fault of ours: people hear of it, the loop goes on."""
        peer = self._peers.get(address)
        self._tell("bridge_fault", peer.name if peer else "", repr(error), None)

    def garbled(self, address: bytes, error: CodecError) -> None:
        """A frame could not be read. Its sender's silence is bridged by the sender's own safety."""
        peer = self._peers.get(address)
        if peer is not None:
            self._tell("frame_refused", peer.name, str(error), peer)
            self._weigh(address)
            return
        self._log("frame_refused", f"from an unknown peer: {error}")
        self._weigh(address)
        if isinstance(error, VersionError):
            self._refuse(address, [str(error)], error.version)

    def tend(self) -> None:
        """What is due without being asked: records, events, signs of life."""
        for peer in list(self._peers.values()):
            if peer.robot is None:
                continue
            try:
                self._settle(peer, peer.robot)
            except Exception as error:
                # Its episode cannot be ended in order; the next one begins anew.
                self.faulty(peer.address, error)
        self._desk.tend()
        if self._store is not None:
            for text in self._store.problems():
                self._tell("belief_file_problem", "", text, None)
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
            self.send(peer, _stop(reason, closing=True))
        # Only now: a worker that hangs must not keep the next robot from its stop.
        robots = [peer.robot for peer in self._peers.values() if peer.robot is not None]
        for robot in robots:
            robot.close()
            self._save(robot)
        self._peers.clear()
        deadline = time.monotonic() + JOINING
        for robot in robots:
            robot.join(max(0.0, deadline - time.monotonic()))
        if self._store is not None:
            self._store.close()

    def _settle(self, peer: Peer, robot: Robot) -> None:
        for record in robot.finished():
            if peer.operator is not None:
                self.send(peer.operator, record)
            peer.operator = None
        self._save(robot)
        self._news(peer, robot)

    def _save(self, robot: Robot) -> None:
        kept = robot.unsaved()
        if kept is not None and self._store is not None:
            self._store.save(robot.name, kept.digest, kept.version, kept.count, kept.snapshot)

    def _recall(self, robot: Robot) -> None:
        """What the robot knew when it left, under the same model."""
        if self._store is None:
            return
        try:
            saved = self._store.find(robot.name, robot.digest)
            if saved is None:
                return
            belief = robot.recall(saved.snapshot)
        except (StateError, SnapshotError) as error:
            text = f"{error}; it starts from the prior"
            self._tell("belief_refused", robot.name, text, None)
            return
        age = max(0.0, time.time() - saved.saved)
        text = f"{belief.count} transitions, kept {age:.0f} s ago"
        self._tell("belief_restored", robot.name, text, None)

    def _hear(self, peer: Peer) -> None:
        peer.heard_ns = self._received_ns
        if peer.silent:
            peer.silent = False
            self._tell("robot_heard", peer.name, "it speaks again", None)

    def announce(self, name: str, text: str) -> None:
        """Tell of something that concerns no robot."""
        self._tell(name, "", text, None)

    def _weigh(self, address: bytes) -> None:
        """One more frame that made no sense: too many, and its sender goes."""
        reason = self._gate.garbage(address)
        if reason:
            self._expel(address, reason)

    def _expel(self, address: bytes, reason: str) -> None:
        """Send a peer away for good; a robot latches its stop when it hears of it."""
        peer = self._peers.get(address)
        self._refuse(address, [reason])
        self._gate.shut(address)
        if peer is None:
            self._tell("peer_expelled", "", f"somebody without a session: {reason}", None)
            return
        role = "robot" if peer.robot else "operator"
        self._tell("peer_expelled", "", f"{role} {peer.name!r}: {reason}", None)
        self._drop(peer, "robot_lost", reason)

    def _greet(self, address: bytes, hello: Hello, version: int) -> None:
        # Whoever is gone without a word makes room now, not at the next sign of life.
        for peer in list(self._peers.values()):
            if peer.name == hello.name or peer.address == address:
                self._check(peer)
        misuse = self._gate.misuse(address, hello.role, hello.name)
        if misuse:
            self._refuse(address, [misuse], version)
            self._gate.shut(address)
            self._tell("peer_refused", "", misuse, None)
            return
        problems: list[str] = []
        agreed = common_version(version, hello)
        if agreed is None:
            oldest, newest = spoken(version, hello)
            problems.append(
                f"protocol versions: this bridge speaks {OLDEST} to {PROTOCOL}, the peer {oldest} "
                f"to {newest}"
            )
        elif hello.role == "robot":
            served = self._models.served
            problems += differences(served.manifest, served.digest, hello)
        if address in self._peers:
            problems.append("this connection has shaken hands already")
        elif hello.role == "robot" and hello.name in self.robots():
            problems.append(f"a robot named {hello.name!r} is connected already")
        if problems or agreed is None:
            self._log("refused", "; ".join(problems), **{hello.role: hello.name})
            self._refuse(address, problems, version)
            return
        robot = None
        if hello.role == "robot":
            robot = Robot(
                hello.name,
                self._models.served,
                self._seed,
                hello.simulated_time,
                self._validity_ns,
                self._taps,
                self.shadow,
                self._guard,
                self._pace,
            )
        peer = Peer(address, 1 + secrets.randbelow(2**62), hello.name, robot)
        peer.demands = hello.digest
        peer.heard_ns = self._received_ns
        self._peers[address] = peer
        self.send(peer, self._welcome(peer, agreed))
        if robot is not None and self._stops.standing(peer.name):
            robot.halt(f"stop {self._stops.concerning(peer.name)} stands")
        self._log("connected", **{hello.role: hello.name})
        if robot is not None:
            self._tell("robot_connected", hello.name, "ready for episodes", None)
            self._recall(robot)

    def _welcome(self, peer: Peer, version: int) -> Welcome:
        stops = self._stops
        of_robot = peer.robot is not None
        return welcome(
            self._models.served,
            peer.session,
            list(self.robots()),
            version=version,
            shadow=self.shadow,
            stop=stops.concerning(peer.name) if of_robot else stops.number,
            latches=stops.latches,
            stopped=of_robot and stops.stopped(peer.name),
        )

    def _observation(self, peer: Peer, robot: Robot, frame: Frame) -> None:
        observation = decode_observation(frame)
        answer = robot.answer(observation)
        if answer is not None:
            decided_ns = time.monotonic_ns()
            command = structs.replace(
                answer.command, received_ns=self._received_ns, sent_ns=time.monotonic_ns()
            )
            self._post(peer.address, encode_command(command, peer.session))
            sent_ns = time.monotonic_ns()
            robot.answered()
            if self._taps:
                self._record(robot, observation, answer, decided_ns, sent_ns)
            if not robot.simulated_time and not robot.halted:
                self._check_pace(peer, robot, sent_ns)
        # After the answer, which nothing delays, and before the next one.
        self._news(peer, robot)

    def _check_pace(self, peer: Peer, robot: Robot, sent_ns: int) -> None:
        word = robot.pace.note(self._received_ns, sent_ns)
        if not word:
            return
        text = f"{robot.pace.share:.0%} of the last answers were late, by the bridge's own clock"
        if word == "slipping":
            self._tell("rate_slipping", peer.name, text, peer)
            return
        # A robot that gets its commands too late is safer without them.
        self._give_stop(peer.name, f"rate_lost: {text}")
        self._tell("rate_lost", peer.name, text, peer)

    def _record(
        self,
        robot: Robot,
        observation: Observation,
        answer: Answer,
        decided_ns: int,
        sent_ns: int,
    ) -> None:
        belief, command = answer.belief, answer.command
        self._taps.step(
            StepRecord(
                robot=robot.name,
                sequence=observation.sequence,
                robot_time_ns=observation.time_ns,
                received_ns=self._received_ns,
                decided_ns=decided_ns,
                sent_ns=sent_ns,
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
        if heartbeat.clock_offset_ns is not None and heartbeat.round_trip_ns is not None:
            self._taps.clock(
                ClockRecord(
                    peer.name,
                    self._received_ns,
                    heartbeat.clock_offset_ns,
                    heartbeat.round_trip_ns,
                )
            )
        # Its own words may have been lost on the way; without the number nobody could release it.
        if self._stops.heard(peer.name, heartbeat.latch, heartbeat.stopped):
            text = f"it has stopped {heartbeat.latch} times by itself"
            self._tell(STOPPED, peer.name, text, None, heartbeat.latch)

    def _begin(self, operator: Peer, frame: Frame) -> None:
        begin = decode_message(frame, Begin)
        peer = self.find(operator, begin.robot)
        if peer is None or peer.robot is None:
            return
        try:
            reset = peer.robot.begin(begin)
        except BridgeError as error:
            self.send(operator, Event("begin_refused", peer.name, str(error)))
            return
        peer.operator = operator
        self.send(peer, reset)

    def _stop(self, giver: Peer, frame: Frame) -> None:
        stop = decode_stop(frame)
        reason = f"{'robot' if giver.robot else 'operator'} {giver.name!r}: {stop.reason}"
        self._give_stop(stop.robot, reason)

    def _give_stop(self, name: str, reason: str) -> None:
        """name: of the robot concerned; "" for all."""
        number = self._stops.give(name)
        robots = self.robots()
        for peer in robots.values():
            if name in ("", peer.name):
                self.send(peer, _stop(reason, number=number, robot=name))
        for peer in robots.values():
            if peer.robot is not None and name in ("", peer.name):
                peer.robot.halt(f"stop {number} stands")
        if name and name not in robots:
            reason += "; it is not connected, and starts stopped when it is"
        self._tell(STOP_GIVEN, name, reason, None, number)

    def _release(self, operator: Peer, frame: Frame) -> None:
        release = decode_message(frame, Release)
        peer = self.find(operator, release.robot)
        if peer is None or peer.robot is None:
            return
        refusal = self._stops.release(peer.name, release)
        if refusal:
            self._tell(RELEASE_REFUSED, peer.name, refusal, None)
            return
        self._log("released", robot=peer.name, operator=operator.name)
        self.send(peer, Release(peer.name, release.stop, release.latch))
        peer.robot.unhalt()

    def find(self, operator: Peer, name: str) -> Peer | None:
        """The robot of that name, or the only one; None after telling the operator why not."""
        robots = self.robots()
        if name in robots:
            return robots[name]
        if not name and len(robots) == 1:
            return next(iter(robots.values()))
        asked = f"no robot named {name!r}" if name else "which robot is not said"
        text = f"{asked}; connected: {', '.join(robots) or 'none'}"
        self.send(operator, Event("robot_unknown", name, text))
        return None

    def robots(self) -> dict[str, Peer]:
        """Robots by name."""
        return {peer.name: peer for peer in self._peers.values() if peer.robot}

    def _check(self, peer: Peer) -> None:
        void = self._gate.void(peer.address)
        if void:
            self._expel(peer.address, void)
            return
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
            self._log("left", operator=peer.name)
            for other in self._peers.values():
                if other.operator is peer:
                    other.operator = None
            return
        peer.robot.close()
        self._save(peer.robot)
        self._tell(name, peer.name, text, None)

    def _tell(self, name: str, robot: str, text: str, peer: Peer | None, number: int = 0) -> None:
        """An event, to the journal, to every operator and, where given, to the peer concerned."""
        event = Event(name, robot, text[:TEXT], number)
        self._recent.append(event)
        self._log(name, text, robot=robot)
        for other in list(self._peers.values()):
            if other.robot is None or other is peer:
                self.send(other, event)
        if self._taps:
            self._taps.event(EventRecord(time.monotonic_ns(), name, robot, text))

    def tell(self, name: str, robot: str, text: str) -> None:
        """An event, to everybody but robots."""
        self._tell(name, robot, text, None)

    def recent(self) -> Sequence[Event]:
        """The latest events, oldest first."""
        return tuple(self._recent)

    def operators(self) -> list[str]:
        """Names of the operators."""
        return [peer.name for peer in self._peers.values() if peer.robot is None]

    def last_stop(self) -> int:
        """Number of the latest stop."""
        return self._stops.number

    def send(self, peer: Peer, message: Message) -> None:
        """One message, unless the peer is gone."""
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
