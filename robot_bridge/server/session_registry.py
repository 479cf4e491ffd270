"""The peers that are connected, and the messages and events sent to them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from robot_bridge.protocol.codec import encode_message
from robot_bridge.protocol.messages import (
    FAILURES,
    PROTOCOL,
    Event,
    Heartbeat,
    Message,
    Refused,
)
from robot_bridge.session.event_throttle import PeerThrottle
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.system.log import Log, speakable
from robot_bridge.telemetry.observers import Taps
from robot_bridge.telemetry.records import EventRecord

TEXT = 4000  # characters of an event
REASON = 1000  # characters of a text put together here: few enough for every bound on the wire
REASONS = 15  # of one refusal: even in four-byte characters they fit a frame
EVENTS = 50  # remembered for operators that ask

CONNECTED = "robot_connected"
PRESENCE = (CONNECTED, "robot_left", "robot_lost")


@dataclass(eq=False)
class Peer:
    """robot: None for an operator. operator: who began the robot's episode. demands: digest of the
    bundle that a robot's driver was made for, or "". heard_ns: when it last said anything [ns];
    silent: for so long that it has been told. heartbeat: a robot's latest.
    clocked_ns: when the clock offset in one was last recorded [ns]."""

    address: bytes
    session: int
    name: str
    robot: RobotSession | None
    operator: Peer | None = None
    demands: str = ""
    heard_ns: int = 0
    silent: bool = False
    heartbeat: Heartbeat | None = None
    clocked_ns: int = 0


class SessionRegistry:
    """post(address, data): False when the peer is gone. log: see `Journal`.

    cause: address of the peer whose frame is being acted on, b"" for one without a session; None
    when the bridge acts by itself. What one peer causes is written at a bounded rate.
    """

    def __init__(self, post: Callable[[bytes, bytes], bool], log: Log, taps: Taps) -> None:
        self.post = post
        self._write = log
        self.cause: bytes | None = None
        self._throttle: PeerThrottle[Callable[[str], None]] = PeerThrottle()
        self.taps = taps
        self._peers: dict[bytes, Peer] = {}
        self.several = False  # whether there is more than one robot
        self._recent: deque[Event] = deque(maxlen=EVENTS)

    def __iter__(self) -> Iterator[Peer]:
        """Every peer; peers may leave meanwhile."""
        return iter(list(self._peers.values()))

    def get(self, address: bytes) -> Peer | None:
        """The peer at an address; None where none is connected."""
        return self._peers.get(address)

    def add(self, peer: Peer) -> None:
        """Connect a peer, after its handshake."""
        self._peers[peer.address] = peer
        self.several = len(self.robots()) > 1

    def remove(self, peer: Peer) -> bool:
        """Disconnect a peer; False when it was gone already."""
        found = self._peers.pop(peer.address, None) is not None
        if self.cause == peer.address:
            self.cause = b""
        self._throttle.leave(peer.address)
        self.several = len(self.robots()) > 1
        return found

    def robots(self) -> dict[str, Peer]:
        """Robots by name."""
        return {peer.name: peer for peer in self._peers.values() if peer.robot}

    def operators(self) -> list[str]:
        """Names of the operators."""
        return [peer.name for peer in self._peers.values() if peer.robot is None]

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

    def send(self, peer: Peer, message: Message) -> None:
        """Send one message, unless the peer is gone."""
        # A peer that is gone is dropped at the next heartbeat.
        self.post(peer.address, encode_message(message, session=peer.session))

    def refuse(self, address: bytes, reasons: Sequence[str], version: int = PROTOCOL) -> None:
        """Send REFUSED. version: of the frame refused, so that its sender can read the answer."""
        kept = [speakable(reason)[:REASON] for reason in reasons[:REASONS]]
        if len(reasons) > len(kept):
            kept.append(f"and {len(reasons) - len(kept)} more")
        self.post(address, encode_message(Refused(tuple(kept)), version=version))

    def act_for(self, address: bytes | None) -> Peer | None:
        """Set `cause`; returns the peer, None for one without a session. address: the sender of the
        frame that is acted on next; None for none."""
        peer = self._peers.get(address) if address is not None else None
        self.cause = address if peer is not None or address is None else b""
        return peer

    def log(self, name: str, text: str = "", **fields: object) -> None:
        """A line of the log alone."""
        self._admit(name, lambda more: self._write(name, text + more, **fields))

    def tell(
        self, name: str, robot: str, text: str, peer: Peer | None = None, number: int = 0
    ) -> None:
        """An event, to the log, to every operator and, where given, to the peer concerned.

        The operator who caused it hears it at once, also where its entries are throttled: a release
        names the number of the stop that it was told.
        """
        asker = self._peers.get(self.cause or b"")
        at_once = asker is not None and asker.robot is None
        presence = name in PRESENCE

        def write(more: str) -> None:
            if more and presence and (name == CONNECTED) != (robot in self.robots()):
                # The opposite has been told since, or never changed: late, it would mislead.
                self._write(name, text + more, robot=robot)
                return
            self._tell(name, robot, text + more, peer, number, asker if more and at_once else None)

        # Of coming and going the latest alone counts.
        kind = ("presence", robot) if presence else (name, robot)
        if not self._admit(kind, write) and asker is not None and at_once:
            self.send(asker, Event(name, robot, speakable(text)[:TEXT], number))

    def tend(self) -> None:
        """Write what was left out, where there is room for it again."""
        for write, count in self._throttle.due():
            write(f"; {count} like this were left out or late: its peer caused too many")

    def _admit(self, kind: object, write: Callable[[str], None]) -> bool:
        """Write now, or later with what was left out; whether it was now."""
        now = self.cause is None or self._throttle.admit(self.cause, kind, write)
        if now:
            write("")
        return now

    def _tell(
        self,
        name: str,
        robot: str,
        text: str,
        peer: Peer | None,
        number: int,
        told: Peer | None,
    ) -> None:
        """told: a peer that has heard it already."""
        # Texts name files, and a name that cannot be sent must not end the loop that sends it.
        text = speakable(text)
        event = Event(name, robot, text[:TEXT], number)
        self._recent.append(event)
        self._write(name, text, robot=robot)
        for other in self:
            if other is not told and (other.robot is None or other is peer):
                self.send(other, event)
        if name not in FAILURES:
            self.record(name, robot, text)

    def record(self, name: str, robot: str, text: str) -> None:
        """An event for recorders alone. Each of FAILURES is recorded so, once a step and never
        late: a replay cannot go on behind it."""
        if self.taps:
            self.taps.event(EventRecord(time.monotonic_ns(), name, robot, speakable(text)))

    def recent(self) -> tuple[Event, ...]:
        """The latest events, oldest first."""
        return tuple(self._recent)

    def clear(self) -> None:
        self._peers.clear()
        self.several = False
