"""The connections of a bridge over tcp: strangers stay few, and nobody fills its memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from robot_bridge.transport.connection import Connection
from robot_bridge.transport.peer_connection import Guest

# A handshake takes three exchanges; whoever takes longer is not trying [ms].
HANDSHAKE_MS = 2000
CONNECTIONS = 256  # in all
STRANGERS = 32  # of them, those that have not said anything yet
# Bytes from one connection of which no frame comes. libzmq and the kernel may hold 12 MB that the
# loop has yet to take; pings take less than PING_RATE [bytes/s].
MESSAGE_BYTES = 16 * 1024 * 1024
PING_RATE = 200.0
MEASURED = 0.5  # so often [s]
EVENTS = 1000  # of connections looked at before whoever knocks is answered

_EVENTS = (
    zmq.Event.ACCEPTED
    | zmq.Event.DISCONNECTED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
)


@dataclass(frozen=True)
class Meter:
    """Of one connection, when a frame of it was last heard: frames until then, bytes received until
    then, and when that was [s]."""

    frames: int
    received: int
    at: float


class Lobby:
    """Watches the connections of a ROUTER socket that is not bound yet. Belongs to one thread, but
    for `spoke`. refuse(text, kind): told of everyone sent away; a kind is told once in a while.
    """

    def __init__(self, server: zmq.Socket, refuse: Callable[[str, str], None]) -> None:
        server.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        self.monitor = server.get_monitor_socket(_EVENTS)
        self._refuse = refuse
        self._open: dict[int, Connection] = {}  # in the order in which they came
        self._spoken: dict[int, Guest] = {}
        self._meters: dict[Connection, Meter] = {}
        self._measured_at = 0.0
        self._expelled: set[int] = set()  # cut off by us, and still to end
        self._failed = 0  # handshakes whose connections are still to end

    def spoke(self, guest: Guest) -> None:
        """A frame came through this guest's connection: no stranger any more."""
        if guest.connection is not None:
            self._spoken[guest.connection.descriptor] = guest

    def watch(self) -> None:
        """Act on what libzmq says of connections."""
        # All that has happened, before anything is made of it: a number whose connection ended
        # may belong to another one by now.
        arrived: dict[int, None] = {}
        for _ in range(EVENTS):
            if not self.monitor.poll(0):
                break
            message = recv_monitor_message(self.monitor)
            event, descriptor = message["event"], int(message["value"])
            if event == zmq.Event.ACCEPTED:
                arrived[descriptor] = None
            elif event == zmq.Event.DISCONNECTED:
                known = self._open.pop(descriptor, None)
                arrived.pop(descriptor, None)
                if known is None or self._guest(known) is None:
                    self._leave(descriptor, known)
            else:
                # Its end is another event, which need not be told as well.
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
        if len(self._open) > CONNECTIONS or len(self._strangers()) > STRANGERS:
            self._make_room()

    def _leave(self, descriptor: int, stranger: Connection | None) -> None:
        """A connection ended of which no frame was heard. stranger: None when it was gone before
        it could be looked at."""
        if descriptor in self._expelled:
            self._expelled.discard(descriptor)
            return
        if self._failed:
            self._failed -= 1
            return
        where = stranger.host if stranger is not None else "somebody"
        self._refuse(f"{where}: left without a handshake, or said what is none", f"left {where}")

    def _make_room(self) -> None:
        # An end may have been missed: libzmq drops events that pile up.
        for number, connection in list(self._open.items()):
            if not connection.alive():
                self._open.pop(number, None)
        # A copy: the loop may add to it meanwhile.
        for number, guest in list(self._spoken.items()):
            if guest.connection is None or not guest.connection.alive():
                self._spoken.pop(number, None)
        for stranger in self._strangers()[:-STRANGERS]:
            self._refuse(
                f"{stranger.host}: more than {STRANGERS} connections without a word; the oldest "
                "are closed",
                "strangers",
            )
            self._close(stranger)
        for newest in list(self._open.values())[CONNECTIONS:]:
            self._refuse(f"{newest.host}: {CONNECTIONS} connections are open", "connections")
            self._close(newest)

    def measure(self) -> None:
        """Cut off whoever sends and sends, and no frame comes of it: libzmq gathers all parts of a
        message, however many, before it counts as one."""
        now = time.monotonic()
        if now < self._measured_at + MEASURED:
            return
        self._measured_at = now
        before, self._meters = self._meters, {}
        for connection in list(self._open.values()):
            received = connection.received()
            if received is None:
                continue
            guest = self._guest(connection)
            frames = guest.frames if guest is not None else 0
            meter = before.get(connection)
            if meter is None or meter.frames != frames:
                meter = Meter(frames, received, now)
            self._meters[connection] = meter
            if received - meter.received > MESSAGE_BYTES + (now - meter.at) * PING_RATE:
                self._refuse(f"{connection.host}: a message that does not end", "endless")
                self._close(connection)

    def _guest(self, connection: Connection) -> Guest | None:
        # By connection, not by number: the loop may hear a peer before we hear that it is there.
        guest = self._spoken.get(connection.descriptor)
        return guest if guest is not None and guest.connection == connection else None

    def _close(self, connection: Connection) -> None:
        connection.shut()
        self._open.pop(connection.descriptor, None)
        self._expelled.add(connection.descriptor)

    def _strangers(self) -> list[Connection]:
        return [open_ for open_ in self._open.values() if self._guest(open_) is None]
