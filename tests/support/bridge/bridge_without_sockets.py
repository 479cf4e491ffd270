"""A bridge without sockets: a test hands it frames, and reads the frames that it sends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import specs
from robot_bridge.protocol.messages import (
    NO_FLAGS,
    Command,
    Event,
    Flag,
    Hello,
    Kind,
    Lasting,
    Message,
    Observation,
    Welcome,
)
from robot_bridge.server.dispatcher import Dispatcher
from tests.support.bridge.unpaced import LOOSE


class Post:
    """Keeps every frame sent, with its address, in order. settings: of the Dispatcher."""

    def __init__(self, bundle: PolicyBundle, **settings: Any) -> None:
        self.sent: list[tuple[bytes, codec.Frame]] = []
        self.told: list[str] = []  # names of logged events
        settings.setdefault("spacing", LOOSE)
        self.peers = Dispatcher(bundle, self.send, 0, 1, self._note, **settings)
        self._bundle = bundle
        self._sessions: dict[bytes, int] = {}
        self._sequences: dict[bytes, int] = {}

    def send(self, address: bytes, data: bytes) -> bool:
        self.sent.append((address, codec.decode(data)))
        return True

    def _note(self, event: str, text: str = "", **fields: object) -> None:
        self.told.append(event)

    def frames(self, address: bytes, kind: Kind) -> list[codec.Frame]:
        return [frame for to, frame in self.sent if to == address and frame.kind is kind]

    def say(self, address: bytes, message: Message | Lasting) -> None:
        self._take(address, codec.encode_message(message, session=self._sessions.get(address, 0)))

    def ask(self, address: bytes, kind: Kind) -> None:
        """A frame without a body."""
        self._take(address, codec.encode(kind, session=self._sessions[address]))

    def _take(self, address: bytes, data: bytes) -> None:
        # As the daemon's loop does.
        try:
            self.peers.take(address, data)
        except codec.CodecError as error:
            self.peers.garbled(address, error)
        except Exception as error:
            self.peers.faulty(address, error)

    def join(
        self, address: bytes, role: Literal["robot", "operator"] = "robot", **changes: Any
    ) -> None:
        """Shake hands under the address as a name."""
        manifest = self._bundle.manifest
        fields: dict[str, Any] = {"name": address.decode()}
        if role == "robot":
            fields["observation"] = specs(manifest.observation)
            fields["action"] = specs(manifest.action)
            fields["control_period"] = manifest.control_period
        self.say(address, Hello(role, **(fields | changes)))
        for frame in self.frames(address, Kind.WELCOME):
            self._sessions[address] = codec.decode_message(frame, Welcome).session

    def observe(
        self, address: bytes, value: float = 0.1, flags: Flag = NO_FLAGS, **changes: Any
    ) -> Command | None:
        """Send an observation whose numbers all equal `value`; returns the answer."""
        self._sequences[address] = self._sequences.get(address, 0) + 1
        size = self._bundle.manifest.observation_size
        fields = {
            "sequence": self._sequences[address],
            "time_ns": time.monotonic_ns(),
            "payload": np.full(size, value, np.float32),
            "flags": flags,
        }
        seen, before = Observation(**(fields | changes)), len(self.sent)
        self._take(address, codec.encode_observation(seen, self._sessions[address]))
        for to, frame in self.sent[before:]:
            if to == address and frame.kind is Kind.COMMAND:
                return codec.decode_command(frame)
        return None

    def events(self, address: bytes, name: str = "") -> list[Event]:
        """Events that a peer received: all of them, or those of one name."""
        found = [codec.decode_message(frame, Event) for frame in self.frames(address, Kind.EVENT)]
        return [event for event in found if name in ("", event.name)]

    def settle(self, done: Callable[[], bool]) -> None:
        """Run the dispatcher until done() is true, for 30 s at most."""
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline
            self.peers.tend()
            time.sleep(0.002)
