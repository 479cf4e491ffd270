"""The bridge's socket: many peers, none of which can hold up another."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import zmq

from robot_bridge.protocol import timing
from robot_bridge.protocol.codec import FRAME_BYTES
from robot_bridge.transport.connection import Connection, PeerConnection
from robot_bridge.transport.connection_limiter import required_limit
from robot_bridge.transport.connection_monitor import ConnectionMonitor
from robot_bridge.transport.curve_keys import Role, folder_of
from robot_bridge.transport.endpoint import CURVE_BYTES, Address, ipc_path

# Long enough for a stop to leave, short enough for Ctrl-C [ms].
LINGER_MS = 300
# Frames taken at once, before the loop sees to its other duties. libzmq takes them from one peer
# after the other, so that a peer's frame waits for at most one of each other peer.
BATCH = 64
BACKLOG = 4096  # the same for a bridge that has fallen behind, and looks for the newest
WAITING = 100  # frames of one peer, each way, that may wait: 6.5 MB at most
# Unreadable frames of one peer: so many at once, and so many a second [1/s], before it is expelled.
GARBAGE = 20
GARBAGE_RATE = 1.0
REMEMBERED = 512  # peers, before those that are gone are forgotten
# As plain numbers: an operation on enum members takes half as long as the sending itself.
NOBLOCK, SENDMORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


class ServerSocket:
    """Receives (peer, frame) and sends frames to peers; never blocks on sending.

    keys: folder, for tcp; None for the default one. connections: as many as it takes. Raises
    EndpointError when it cannot bind or may open too few files, KeyFileError or PrivacyError for
    the keys.
    """

    def __init__(self, endpoint: str, keys: Path | None = None) -> None:
        self._address = Address(endpoint)
        self.endpoint = self._address.endpoint
        self._peers: dict[bytes, PeerConnection] = {}
        self._room = REMEMBERED
        self._leaving: list[PeerConnection] = []
        self._monitor: ConnectionMonitor | None = None
        self._timeout_ms = 0  # as set on the socket
        self.waited = 0.0  # for the first frame of the last `receive` [s]
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.LINGER, LINGER_MS),
            # Sending to a peer that is gone is an error, not a lost message.
            (zmq.ROUTER_MANDATORY, 1),
            # Refused from the length alone, before memory is set aside for it.
            (zmq.MAXMSGSIZE, FRAME_BYTES + CURVE_BYTES),
            (zmq.RCVHWM, WAITING),
            (zmq.SNDHWM, WAITING),
            # Over tcp alone: a peer's machine that is gone.
            (zmq.TCP_MAXRT, timing.UNACKNOWLEDGED_MS),
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, timing.IDLE),
            (zmq.TCP_KEEPALIVE_INTVL, timing.PROBE),
            (zmq.TCP_KEEPALIVE_CNT, timing.PROBES),
        ):
            self._socket.set(option, value)
        try:
            self.connections = required_limit()
            folder = folder_of(keys) if ipc_path(self.endpoint) is None else None
            self._monitor = ConnectionMonitor(
                self._context, self._socket, self._address, self.connections, folder
            )
            self._address.bind(self._socket)
        except BaseException:
            self.close()
            raise
        self._authenticator = self._monitor.authenticator

    def receive(self, timeout_ms: int, most: int = BATCH) -> Iterator[tuple[bytes, bytes]]:
        """Frames that have arrived, at most so many; waits at most timeout_ms for the first."""
        if self._leaving:
            self._cut_leaving()
        # Waiting within the receipt of the first frame costs least: poll() takes 10 us.
        flags = NOBLOCK
        if timeout_ms > 0:
            flags = 0
            if timeout_ms != self._timeout_ms:
                self._timeout_ms = timeout_ms
                self._socket.set(zmq.RCVTIMEO, timeout_ms)
        began: float | None = time.monotonic()
        for _ in range(most):
            try:
                address = self._socket.recv(flags)
            except zmq.Again:
                return
            if began is not None:
                self.waited, began, flags = time.monotonic() - began, None, NOBLOCK
            frame = self._socket.recv(NOBLOCK, copy=False)
            data = frame.bytes
            peer = self._peers.get(address) or self._learn(address, frame)
            if frame.more:
                # No client sends more than one part. Taking a hundred thousand of them costs the
                # loop a second; a peer can do that only once.
                while self._socket.get(zmq.RCVMORE):
                    self._socket.recv(copy=False)
                data, peer.parts = b"", True
            peer.frames += 1
            # libzmq tells with every frame which key opened its connection: no peer can use
            # another's address.
            if peer.leaving or (self._authenticator and frame.get("User-Id") != peer.public):
                continue
            yield address, data

    def send(self, peer: bytes, data: bytes) -> bool:
        """False when the peer is gone. A peer that does not read loses the frame: by the time it
        reads again, a command would be stale."""
        try:
            # Not send_multipart, whose checks of both parts take longer than the sending.
            self._socket.send(peer, SENDMORE)
            self._socket.send(data, NOBLOCK)
        except zmq.Again:
            return True
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def news(self) -> list[tuple[str, str]]:
        """What has happened to connections since the last call: (name of the event, text)."""
        return self._monitor.news() if self._monitor else []

    def misuse(self, peer: bytes, role: Role, name: str) -> str:
        """Why a peer may not introduce itself with this role and name, or "". A robot's key is for
        one name. Over ipc every peer that may connect may be either."""
        if self._authenticator is None:
            return ""
        held = self._peers.get(peer)
        identity = self._authenticator.known.get(held.public) if held else None
        if identity is None:
            return "its key was revoked"
        if identity.role != role or (role == "robot" and identity.name != name):
            return f"the key was made for {identity}; it came as {role} {name!r}"
        return ""

    def void(self, peer: bytes) -> str:
        """Why a peer that was admitted must be disconnected, or ""."""
        if self._authenticator is None:
            return ""
        held = self._peers.get(peer)
        known = held is not None and held.public in self._authenticator.known
        return "" if known else "its key was revoked"

    def garbage(self, peer: bytes, stale: bool = False) -> str:
        """Note a frame that could not be read, or, stale, one of a session that is not known here;
        why its sender must be disconnected, or ""."""
        held = self._peers.get(peer)
        if held is None:
            return ""
        now = time.monotonic()
        fault = "were of a session that is not known here" if stale else "could not be read"
        reason = f"{GARBAGE} frames in a row {fault}"
        if held.parts:
            reason = "it sent a message of several parts; a frame is one"
            held.patience = 0.0
            held.at = now
        held.patience = min(GARBAGE, held.patience + (now - held.at) * GARBAGE_RATE) - 1
        held.at = now
        if held.patience >= 0:
            return ""
        # A robot that outlives its bridge has sent the new one such frames before it can know.
        if self._authenticator is not None and not stale:
            self._authenticator.ban(held.public)
        return reason

    def shut(self, peer: bytes) -> None:
        """Ignore this peer from now on; cut its connection once what was sent to it has left."""
        held = self._peers.get(peer)
        if held is not None and not held.leaving:
            held.leaving = time.monotonic() + LINGER_MS / 1000
            self._leaving.append(held)

    def close(self) -> None:
        """Let the last frames leave, and free the address."""
        self._socket.close()
        self._context.term()
        if self._monitor is not None:
            self._monitor.join()
        self._address.release()

    def _learn(self, address: bytes, frame: zmq.Frame) -> PeerConnection:
        if len(self._peers) >= self._room:
            self._peers = {
                name: peer
                for name, peer in self._peers.items()
                if peer.connection is not None and peer.connection.alive()
            }
            # Where so many are still here, not again with every further one.
            self._room = max(REMEMBERED, 2 * len(self._peers))
        connection = Connection.of(int(frame.get(zmq.SRCFD)))
        public = str(frame.get("User-Id")) if self._authenticator is not None else ""
        peer = PeerConnection(public, connection, GARBAGE, time.monotonic())
        if self._monitor is not None:
            self._monitor.heard(peer)
        self._peers[address] = peer
        return peer

    def _cut_leaving(self) -> None:
        now = time.monotonic()
        for peer in [peer for peer in self._leaving if peer.leaving <= now]:
            self._leaving.remove(peer)
            if peer.connection is not None:
                peer.connection.shut()
