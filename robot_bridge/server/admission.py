"""Handshakes, liveness and disconnection of peers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from robot_bridge.errors import CodecError
from robot_bridge.protocol.codec import encode_message
from robot_bridge.protocol.handshake import differences, welcome
from robot_bridge.protocol.messages import PROTOCOL, Heartbeat, Hello, Welcome
from robot_bridge.protocol.timing import ROBOT_LOST, ROBOT_SILENT
from robot_bridge.safety.stop_registry import NAMES, StopRegistry
from robot_bridge.server.load_meter import LoadMeter
from robot_bridge.server.session_registry import Peer, SessionRegistry
from robot_bridge.session.belief_store import BeliefRecovery
from robot_bridge.session.model_registry import ModelRegistry
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.transport.access_policy import AccessPolicy


class Admission:
    """make: a robot's session from its Hello. shadow: whether the bridge only watches. load: says
    whether there is room for a further robot."""

    def __init__(
        self,
        registry: SessionRegistry,
        gate: AccessPolicy,
        models: ModelRegistry,
        stops: StopRegistry,
        recovery: BeliefRecovery,
        make: Callable[[Hello], RobotSession],
        shadow: bool,
        load: LoadMeter,
    ) -> None:
        self._registry = registry
        self._gate = gate
        self._models = models
        self._stops = stops
        self._recovery = recovery
        self._make = make
        self._shadow = shadow
        self._load = load
        self._met: set[str] = set()  # robots' names, whose stops are remembered

    def greet(self, address: bytes, hello: Hello, version: int, now_ns: int) -> None:
        """Welcome a peer, or refuse it with every reason. now_ns: when its frame came in."""
        registry = self._registry
        # A peer that is gone or silent makes room now, not at the next heartbeat.
        for peer in registry:
            if peer.name == hello.name or peer.address == address:
                self.check(peer, ROBOT_SILENT)
        misuse = self._gate.misuse(address, hello.role, hello.name)
        if misuse:
            registry.refuse(address, [misuse], version)
            self._gate.shut(address)
            registry.tell("peer_refused", "", misuse)
            return
        problems = self._problems(address, hello, version)
        if problems:
            registry.refuse(address, problems, version)
            # Operators and recordings hear of a second peer that claims a robot's name.
            robot_name = hello.name if hello.role == "robot" else ""
            registry.tell(
                "peer_refused", robot_name, f"{hello.role} {hello.name!r}: {'; '.join(problems)}"
            )
            return
        session = 1 + secrets.randbelow(2**62)
        try:
            words = encode_message(self._welcome(hello, session), session=session)
        except CodecError as error:
            # The welcome grows with the robots. A peer that cannot get it is not connected.
            registry.refuse(address, [str(error)], version)
            registry.tell("peer_refused", "", f"{hello.role}: {error}")
            return
        robot = self._make(hello) if hello.role == "robot" else None
        peer = Peer(address, session, hello.name, robot)
        peer.demands = hello.digest
        peer.heard_ns = now_ns
        registry.add(peer)
        registry.post(address, words)
        if robot is not None and self._stops.stopped(peer.name):
            standing = self._stops.standing(peer.name)
            number = self._stops.concerning(peer.name)
            robot.halt(f"stop {number} stands" if standing else "it had stopped when it went")
        if robot is not None:
            self._met.add(peer.name)
        registry.log("connected", **{hello.role: hello.name})
        if robot is not None:
            registry.tell("robot_connected", hello.name, "ready for episodes")
            self._recovery.recall(robot)

    def _problems(self, address: bytes, hello: Hello, version: int) -> list[str]:
        problems: list[str] = []
        if version != PROTOCOL:
            problems.append(f"protocol version {version}; this bridge speaks {PROTOCOL}")
        elif hello.role == "robot":
            served = self._models.served
            problems += differences(served.manifest, served.digest, hello)
        if self._registry.get(address) is not None:
            problems.append("this connection has shaken hands already")
        elif hello.role == "robot" and hello.name in self._registry.robots():
            problems.append(f"a robot named {hello.name!r} is connected already")
        elif hello.role == "robot" and hello.name not in self._met and len(self._met) >= NAMES:
            problems.append(
                f"this bridge has met {NAMES} robots, and remembers each one's stops; use one of "
                "their names, or start it anew"
            )
        if not problems and hello.role == "robot":
            # Rather than that all of them are answered late.
            refusal = self._load.refusal(len(self._registry.robots()))
            problems += [refusal] if refusal else []
        return problems

    def _welcome(self, hello: Hello, session: int) -> Welcome:
        stops = self._stops
        of_robot = hello.role == "robot"
        return welcome(
            self._models.served,
            session,
            [*self._registry.robots(), *([hello.name] if of_robot else [])],
            shadow=self._shadow,
            stop=stops.concerning(hello.name) if of_robot else stops.number,
            latches=stops.latches(hello.name if of_robot else ""),
            stopped=of_robot and stops.stopped(hello.name),
        )

    def check(self, peer: Peer, patience: float = ROBOT_LOST) -> None:
        """Send a peer a heartbeat, and look at its own. patience: silence after which a robot is
        disconnected [s]."""
        void = self._gate.void(peer.address)
        if void:
            self._expel(peer.address, void)
            return
        stops = self._stops
        latest = stops.number if peer.robot is None else stops.concerning(peer.name)
        data = encode_message(Heartbeat(latest), session=peer.session)
        if not self._registry.post(peer.address, data):
            self.drop(peer, "robot_lost", "its connection broke")
            return
        quiet = (time.monotonic_ns() - peer.heard_ns) / 1e9
        if peer.robot is None or quiet <= ROBOT_SILENT:
            return
        text = f"nothing from it for {quiet:.1f} s"
        if not peer.silent:
            peer.silent = True
            self._registry.tell("robot_silent", peer.name, text)
        if quiet > patience and (patience < ROBOT_LOST or not peer.robot.simulated_time):
            self._registry.refuse(peer.address, [text])
            self._gate.shut(peer.address)
            self.drop(peer, "robot_lost", text)

    def hear_again(self, peer: Peer) -> None:
        """Tell that a frame came from a robot that had been silent."""
        peer.silent = False
        self._registry.tell("robot_heard", peer.name, "it speaks again")

    def weigh(self, address: bytes, stale: bool = False) -> None:
        """Count one more frame that could not be read or is stale; after too many, disconnect its
        sender."""
        reason = self._gate.garbage(address, stale)
        if reason:
            self._expel(address, reason)

    def _expel(self, address: bytes, reason: str) -> None:
        """Disconnect a peer; a robot latches its stop when it hears of it."""
        peer = self._registry.get(address)
        self._registry.refuse(address, [reason])
        self._gate.shut(address)
        if peer is None:
            text = f"a peer without a session: {reason}"
            self._registry.tell("peer_expelled", "", text)
            return
        role = "robot" if peer.robot else "operator"
        self._registry.tell("peer_expelled", "", f"{role} {peer.name!r}: {reason}")
        self.drop(peer, "robot_lost", reason)

    def drop(self, peer: Peer, name: str, text: str) -> None:
        """Forget a peer that is gone. name, text: the event that tells of a robot."""
        if not self._registry.remove(peer):
            return
        if peer.robot is None:
            self._registry.log("left", operator=peer.name)
            for other in self._registry:
                if other.operator is peer:
                    other.operator = None
            return
        peer.robot.episodes.close()
        self._recovery.save(peer.robot)
        if name == "robot_lost":
            self._stops.lost(peer.name)
            text += "; it starts stopped when it is back"
        self._registry.tell(name, peer.name, text)
