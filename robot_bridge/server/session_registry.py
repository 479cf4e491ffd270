"""Who is connected, and who is told what."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from robot_bridge.protocol.codec import encode_message
from robot_bridge.protocol.messages import PROTOCOL, Event, Heartbeat, Message, Refused
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.system.log import Log, speakable
from robot_bridge.telemetry.observers import Taps
from robot_bridge.telemetry.records import EventRecord

TEXT = 4000  # characters of an event
REASON = 1000  # characters of a text put together here: few enough for every bound on the wire
REASONS = 15  # of one refusal: even in four-byte characters they fit a frame
EVENTS = 50  # remembered for operators that ask


@dataclass(eq=False)
class Peer:
    """robot: None for an operator. operator: who began the robot's episode. demands: digest of the
    bundle that a robot's driver was made for, or "". heard_ns: when it last said anything [ns];
    silent: for so long that it has been told. heartbeat: a robot's latest."""

    address: bytes
    session: int
    name: str
    robot: RobotSession | None
    operator: Peer | None = None
    demands: str = ""
    heard_ns: int = 0
    silent: bool = False
    heartbeat: Heartbeat | None = None


class SessionRegistry:
    """post(address, data): False when the peer is gone. log: see `Journal`."""

    def __init__(self, post: Callable[[bytes, bytes], bool], log: Log, taps: Taps) -> None:
        self.post = post
        self.log = log
        self.taps = taps
        self._peers: dict[bytes, Peer] = {}
        self.several = False  # whether there is more than one robot
        self._recent: deque[Event] = deque(maxlen=EVENTS)

    def __iter__(self) -> Iterator[Peer]:
        """Everybody, also while some of them leave."""
        return iter(list(self._peers.values()))

    def get(self, address: bytes) -> Peer | None:
        """Who speaks from an address."""
        return self._peers.get(address)

    def add(self, peer: Peer) -> None:
        """Its handshake is over."""
        self._peers[peer.address] = peer
        self.several = len(self.robots()) > 1

    def remove(self, peer: Peer) -> bool:
        """False when it was gone already."""
        found = self._peers.pop(peer.address, None) is not None
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
        """One message, unless the peer is gone."""
        # A peer found gone here is dropped at the next sign of life, which is due soon.
        self.post(peer.address, encode_message(message, session=peer.session))

    def refuse(self, address: bytes, reasons: Sequence[str], version: int = PROTOCOL) -> None:
        """version: of the frame refused, so that its sender can read the answer."""
        kept = [speakable(reason)[:REASON] for reason in reasons[:REASONS]]
        if len(reasons) > len(kept):
            kept.append(f"and {len(reasons) - len(kept)} more")
        self.post(address, encode_message(Refused(tuple(kept)), version=version))

    def tell(
        self, name: str, robot: str, text: str, peer: Peer | None = None, number: int = 0
    ) -> None:
        """An event, to the journal, to every operator and, where given, to the peer concerned."""
        # Texts name files, and a name that cannot be sent must not end the loop that sends it.
        text = speakable(text)
        event = Event(name, robot, text[:TEXT], number)
        self._recent.append(event)
        self.log(name, text, robot=robot)
        for other in self:
            if other.robot is None or other is peer:
                self.send(other, event)
        if self.taps:
            self.taps.event(EventRecord(time.monotonic_ns(), name, robot, text))

    def recent(self) -> tuple[Event, ...]:
        """The latest events, oldest first."""
        return tuple(self._recent)

    def clear(self) -> None:
        self._peers.clear()
        self.several = False
