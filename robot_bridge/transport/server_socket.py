"""The bridge's socket: many peers, none of which can hold up another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import zmq

from robot_bridge.protocol import timing
from robot_bridge.protocol.codec import FRAME_BYTES
from robot_bridge.transport.connection import Connection
from robot_bridge.transport.curve_keys import Role, folder_of
from robot_bridge.transport.endpoint import CURVE_BYTES, Address, ipc_path
from robot_bridge.transport.peer_connection import Guest
from robot_bridge.transport.zap_authenticator import Door

# Long enough for a stop to leave, short enough for Ctrl-C [ms].
LINGER_MS = 300
# A peer that never stops talking must not keep the loop from its other duties.
BATCH = 64
WAITING = 100  # frames of one peer, each way, that may wait: 6.5 MB at most
# Frames that cannot be read: so many at once, and so many a second [1/s], before their sender goes.
GARBAGE = 20
GARBAGE_RATE = 1.0
GUESTS = 512  # remembered, before those that are gone are forgotten


class Router:
    """Receives (peer, frame) and sends frames to peers; never blocks on sending.

    keys: folder, for tcp; None for the default one. Raises EndpointError when it cannot bind,
    KeyFileError or PrivacyError for the keys.
    """

    def __init__(self, endpoint: str, keys: Path | None = None) -> None:
        self._address = Address(endpoint)
        self.endpoint = self._address.endpoint
        self._guests: dict[bytes, Guest] = {}
        self._room = GUESTS
        self._leaving: list[Guest] = []
        self._door: Door | None = None
        self._timeout_ms = 0  # as set on the socket
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, LINGER_MS)
        # A peer that is gone is an error to hear of, not a message to lose.
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        # Refused from the length alone, before memory is set aside for it.
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES + CURVE_BYTES)
        self._socket.set(zmq.RCVHWM, WAITING)
        self._socket.set(zmq.SNDHWM, WAITING)
        # Over tcp alone: a peer's machine that is gone.
        self._socket.set(zmq.TCP_MAXRT, timing.UNACKNOWLEDGED_MS)
        self._socket.set(zmq.TCP_KEEPALIVE, 1)
        self._socket.set(zmq.TCP_KEEPALIVE_IDLE, timing.IDLE)
        self._socket.set(zmq.TCP_KEEPALIVE_INTVL, timing.PROBE)
        self._socket.set(zmq.TCP_KEEPALIVE_CNT, timing.PROBES)
        try:
            if ipc_path(self.endpoint) is None:
                self._door = Door(self._context, self._socket, folder_of(keys))
            self._address.bind(self._socket)
        except BaseException:
            self.close()
            raise

    def receive(self, timeout_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """What has arrived, at most BATCH frames; waits at most timeout_ms for the first."""
        if self._leaving:
            self._part()
        # Waiting within the receipt of the first frame is what costs least: poll() takes 10 us.
        flags = zmq.NOBLOCK
        if timeout_ms > 0:
            flags = 0
            if timeout_ms != self._timeout_ms:
                self._timeout_ms = timeout_ms
                self._socket.set(zmq.RCVTIMEO, timeout_ms)
        for _ in range(BATCH):
            try:
                address = self._socket.recv(flags)
            except zmq.Again:
                return
            flags = zmq.NOBLOCK
            frame = self._socket.recv(copy=False)
            data = frame.bytes
            guest = self._guests.get(address) or self._learn(address, frame)
            if self._socket.get(zmq.RCVMORE):
                # No client sends more than one part. Taking a hundred thousand of them costs the
                # loop a second; whoever sends such a message does it once.
                while self._socket.get(zmq.RCVMORE):
                    self._socket.recv(copy=False)
                data, guest.parts = b"", True
            guest.frames += 1
            # libzmq says with every frame whose key opened its connection: nobody can speak
            # under another's address.
            if guest.leaving or (self._door and frame.get("User-Id") != guest.public):
                continue
            yield address, data

    def send(self, peer: bytes, data: bytes) -> bool:
        """False when the peer is gone. A peer that does not read loses the frame: by the time it
        reads again, a command would be stale."""
        try:
            # Not send_multipart, whose checks of both parts take longer than the sending.
            self._socket.send(peer, zmq.NOBLOCK | zmq.SNDMORE)
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return True
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def news(self) -> list[tuple[str, str]]:
        """What happened at the door since the last call: (name of the event, text)."""
        return self._door.news() if self._door else []

    def misuse(self, peer: bytes, role: Role, name: str) -> str:
        """Why a peer may not introduce itself so, or "". A robot's key is for one name. Over ipc
        whoever may connect may be either."""
        if self._door is None:
            return ""
        guest = self._guests.get(peer)
        identity = self._door.known.get(guest.public) if guest else None
        if identity is None:
            return "its key was revoked"
        if identity.role != role or (role == "robot" and identity.name != name):
            return f"the key was made for {identity}; it came as {role} {name!r}"
        return ""

    def void(self, peer: bytes) -> str:
        """Why a peer that was let in must go, or ""."""
        if self._door is None:
            return ""
        guest = self._guests.get(peer)
        known = guest is not None and guest.public in self._door.known
        return "" if known else "its key was revoked"

    def garbage(self, peer: bytes) -> str:
        """Note a frame that could not be read; why its sender must go, or ""."""
        guest = self._guests.get(peer)
        if guest is None:
            return ""
        now = time.monotonic()
        reason = f"{GARBAGE} frames in a row could not be read"
        if guest.parts:
            reason = "it sent a message of several parts; a frame is one"
            guest.patience = 0.0
            guest.at = now
        guest.patience = min(GARBAGE, guest.patience + (now - guest.at) * GARBAGE_RATE) - 1
        guest.at = now
        if guest.patience >= 0:
            return ""
        if self._door is not None:
            self._door.ban(guest.public)
        return reason

    def shut(self, peer: bytes) -> None:
        """Hear this peer no more, and cut its connection once what was sent to it has left."""
        guest = self._guests.get(peer)
        if guest is not None and not guest.leaving:
            guest.leaving = time.monotonic() + LINGER_MS / 1000
            self._leaving.append(guest)

    def close(self) -> None:
        """Let the last frames leave, and take the address away."""
        self._socket.close()
        self._context.term()
        if self._door is not None:
            self._door.join()
        self._address.release()

    def _learn(self, address: bytes, frame: zmq.Frame) -> Guest:
        if len(self._guests) >= self._room:
            self._guests = {
                name: guest
                for name, guest in self._guests.items()
                if guest.connection is not None and guest.connection.alive()
            }
            # Where so many are still here, not with every further one.
            self._room = max(GUESTS, 2 * len(self._guests))
        connection = Connection.of(int(frame.get(zmq.SRCFD)))
        public = ""
        if self._door is not None:
            public = str(frame.get("User-Id"))
        guest = Guest(public, connection, GARBAGE, time.monotonic())
        if self._door is not None:
            self._door.spoke(guest)
        self._guests[address] = guest
        return guest

    def _part(self) -> None:
        now = time.monotonic()
        for guest in [guest for guest in self._leaving if guest.leaving <= now]:
            self._leaving.remove(guest)
            if guest.connection is not None:
                guest.connection.shut()
