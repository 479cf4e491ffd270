"""Bounds a bridge's connections, over tcp and ipc: in all, of silent ones, and of their messages.

libzmq accepts a connection before anyone can refuse it, and over ipc it aborts the process when it
has no descriptor left for one. So the bound lies far below the limit of open files, the excess is
cut, and peers are kept from connecting for as long as there is no room.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from robot_bridge.errors import EndpointError
from robot_bridge.system import host_info
from robot_bridge.transport.connection import Connection, PeerConnection
from robot_bridge.transport.endpoint import Address

# A handshake takes three exchanges [ms].
HANDSHAKE_MS = 2000
CONNECTIONS = 256  # in all, where the limit of open files allows
LEAST = 64  # connections; a bridge that could not carry so many does not start
RESERVE = 64  # open files left to recordings, metrics, keys and libraries
STRANGERS = 32  # connections of which no frame was heard yet
# Bytes from one connection without a whole frame. libzmq and the kernel may hold 12 MB that the
# loop has yet to take.
MESSAGE_BYTES = 16 * 1024 * 1024
MEASURED = 0.5  # between two measurements of that [s]
PAUSE = 0.1  # after a burst of connections, before further ones [s]
EVENTS = 1000  # of connections looked at before handshakes are judged again

_EVENTS = (
    zmq.Event.LISTENING
    | zmq.Event.ACCEPTED
    | zmq.Event.DISCONNECTED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)


def connection_limit() -> int:
    """Connections that a bridge in this process can carry; raises the soft limit of open files
    where that is allowed. May be less than LEAST.

    Of the descriptors that are free beside RESERVE, a third are for connections; libzmq needs the
    others for those that it accepts until they are cut.
    """
    used, limit = host_info.raise_open_files()
    return min(CONNECTIONS, max(0, limit - used - RESERVE) // 3)


def required_limit() -> int:
    """`connection_limit`. Raises EndpointError where it is less than LEAST."""
    limit = connection_limit()
    if limit < LEAST:
        used, files = host_info.raise_open_files()
        raise EndpointError(
            f"open files: this process may have {files}, and has {used}; a bridge needs at least "
            f"{used + RESERVE + 3 * LEAST}: raise the hard limit, by `ulimit -n 1024` or "
            "LimitNOFILE=1024 in its service"
        )
    return limit


@dataclass(frozen=True)
class _Meter:
    """Of one connection, when a frame of it was last heard: frames until then, bytes received until
    then, and when that was [s]."""

    frames: int
    received: int


class ConnectionLimiter:
    """Watches the connections of a ROUTER socket that is not bound yet. Belongs to one thread, but
    for `heard`.

    address: of the socket. most: connections. refuse(text, kind): called for each connection that
    is cut or failed.
    """

    def __init__(
        self,
        server: zmq.Socket,
        address: Address,
        most: int,
        refuse: Callable[[str, str], None],
    ) -> None:
        server.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self.monitor = server.get_monitor_socket(_EVENTS)
        self._address = address
        self._hidden_at = 0.0  # when peers were last kept from connecting, or 0 [s]
        self._most = most
        self._refuse = refuse
        self._open: dict[int, Connection] = {}  # by descriptor, in the order in which they came
        self._heard: dict[int, PeerConnection] = {}  # by descriptor
        self._meters: dict[Connection, _Meter] = {}
        self._measured_at = 0.0
        self._cut: set[int] = set()  # descriptors that were cut by us and are not closed yet
        self._failed = 0  # handshakes whose connections are not closed yet

    def heard(self, peer: PeerConnection) -> None:
        """Note that a frame came through this connection: it is no stranger any more."""
        if peer.connection is not None:
            self._heard[peer.connection.descriptor] = peer

    def watch(self) -> None:
        """Act on what libzmq reports of connections."""
        # First all reports, then the connections: the descriptor of one that ended may belong to
        # another one by now.
        arrived: dict[int, None] = {}
        for _ in range(EVENTS):
            if not self.monitor.poll(0):
                break
            message = recv_monitor_message(self.monitor)
            event, descriptor = message["event"], int(message["value"])
            if event == zmq.Event.LISTENING:
                self._address.listener = descriptor
            elif event == zmq.Event.ACCEPTED:
                arrived[descriptor] = None
                full = len(self._open) + len(arrived) >= self._most
                if (full or len(arrived) > STRANGERS) and not self._hidden_at:
                    # At once: every further one takes a descriptor.
                    self._hidden_at = time.monotonic() if self._address.hide() else 0.0
            elif event == zmq.Event.DISCONNECTED:
                known = self._open.pop(descriptor, None)
                arrived.pop(descriptor, None)
                if known is not None and self._peer(known) is not None:
                    self._heard.pop(descriptor, None)
                else:
                    self._closed(descriptor, known)
            else:
                # That it is closed is another event, which need not be told as well.
                self._failed += 1
                if event != zmq.Event.HANDSHAKE_FAILED_AUTH:
                    # An unknown key was told by ZAP already.
                    self._refuse(
                        "a handshake without CURVE, for another bridge's key, or not finished "
                        f"within {HANDSHAKE_MS / 1000:g} s",
                        "handshake",
                    )
        for descriptor in arrived:
            connection = Connection.of(descriptor)
            self._open.pop(descriptor, None)
            if connection is not None:
                self._open[descriptor] = connection
        if len(self._open) >= self._most or len(self._strangers()) > STRANGERS:
            self._cut_excess()

    def tend(self) -> None:
        """What is due without a report: let peers connect again, measure messages."""
        if self._hidden_at and time.monotonic() > self._hidden_at + PAUSE:
            self._cut_excess()
            full = len(self._open) >= self._most
            self._hidden_at = time.monotonic() if full else 0.0
            if not full:
                self._address.show()
        self._measure()

    def _measure(self) -> None:
        """Cut connections that send and send without a whole frame: libzmq gathers all parts of a
        message, however many, before it hands on the first."""
        now = time.monotonic()
        if now < self._measured_at + MEASURED:
            return
        self._measured_at = now
        before, self._meters = self._meters, {}
        for connection in list(self._open.values()):
            received = connection.received()
            if received is None:
                continue
            peer = self._peer(connection)
            frames = peer.frames if peer is not None else 0
            meter = before.get(connection)
            if meter is None or meter.frames != frames:
                meter = _Meter(frames, received)
            self._meters[connection] = meter
            if received - meter.received > MESSAGE_BYTES:
                self._refuse(f"{connection.host}: a message that does not end", "endless")
                self._close(connection)

    def _closed(self, descriptor: int, stranger: Connection | None) -> None:
        """A connection ended of which no frame was heard. stranger: None when it was gone before
        it could be looked at."""
        if descriptor in self._cut:
            self._cut.discard(descriptor)
            return
        if self._failed:
            self._failed -= 1
            return
        where = stranger.host if stranger is not None else "an unknown peer"
        self._refuse(f"{where}: left without a handshake, or sent none", f"left {where}")

    def _cut_excess(self) -> None:
        # Not every end is reported: libzmq drops events that pile up.
        for descriptor, connection in list(self._open.items()):
            if not connection.alive():
                self._open.pop(descriptor, None)
        # A copy: the loop may add to it meanwhile.
        for descriptor, peer in list(self._heard.items()):
            if peer.connection is None or not peer.connection.alive():
                self._heard.pop(descriptor, None)
        for stranger in self._strangers()[:-STRANGERS]:
            self._refuse(
                f"{stranger.host}: more than {STRANGERS} connections without a frame; the oldest "
                "are closed",
                "strangers",
            )
            self._close(stranger)
        for newest in list(self._open.values())[self._most :]:
            self._close(newest)
        if len(self._open) >= self._most:
            self._refuse(
                f"{self._most} connections are open, as many as this bridge takes; further ones "
                "are refused",
                "connections",
            )

    def _peer(self, connection: Connection) -> PeerConnection | None:
        # By connection, not by descriptor: the loop may hear a frame before its connection is
        # reported here.
        peer = self._heard.get(connection.descriptor)
        return peer if peer is not None and peer.connection == connection else None

    def _close(self, connection: Connection) -> None:
        connection.shut()
        self._open.pop(connection.descriptor, None)
        self._cut.add(connection.descriptor)

    def _strangers(self) -> list[Connection]:
        return [connection for connection in self._open.values() if self._peer(connection) is None]
