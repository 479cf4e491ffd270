"""An accepted connection, as the kernel sees it (libzmq itself can close none), and its peer.

libzmq's I/O thread may close a descriptor at any time, and the next connection or file may get its
number. So a descriptor is duplicated first, then looked at, and only then used: at worst the
connection is gone.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Self

# tcpi_bytes_received of Linux's struct tcp_info, there since 4.1.
_TCP_INFO, _RECEIVED_AT = 136, 128
_RECEIVED = struct.Struct("Q")
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


@dataclass(frozen=True)
class Connection:
    """descriptor: libzmq's. ends: its two addresses, and the peer's process id where the kernel
    knows it. number: the socket's inode, which no later connection with the same descriptor has;
    over ipc two connections of one process have the same ends.
    """

    descriptor: int
    ends: tuple
    number: int

    @classmethod
    def of(cls, descriptor: int) -> Self | None:
        """The connection behind a descriptor; None if there is none (any more)."""
        with _Duplicate(descriptor) as duplicate:
            ends = duplicate.ends() if duplicate is not None else None
            if duplicate is None or ends is None:
                return None
            return cls(descriptor, ends, duplicate.number())

    @property
    def host(self) -> str:
        """The peer's host, or its process over ipc."""
        peer = self.ends[1]
        return peer[0] if isinstance(peer, tuple) else f"process {self.ends[2]}"

    def alive(self) -> bool:
        """Whether the descriptor still belongs to this connection."""
        return Connection.of(self.descriptor) == self

    def received(self) -> int | None:
        """Bytes that the kernel has received on it; None over ipc, or when it is gone."""
        with _Duplicate(self.descriptor) as duplicate:
            if duplicate is None or duplicate.number() != self.number:
                return None
            return duplicate.received()

    def shut(self) -> None:
        """Shut it down in both directions; libzmq notices and closes it."""
        with _Duplicate(self.descriptor) as duplicate:
            if duplicate is not None and duplicate.number() == self.number:
                duplicate.shut()


@dataclass(eq=False)
class PeerConnection:
    """A connection from which a frame was heard, as the bridge's loop knows it.

    public: the key (Z85) that opened it, "" over ipc. connection: None when it was gone before it
    could be looked at. patience: unreadable frames that it may still send, as of `at` [s]. frames:
    heard so far. parts: whether it sent a message of several parts. leaving: when it is cut off
    [s], or 0.
    """

    public: str
    connection: Connection | None
    patience: float
    at: float
    frames: int = 0
    parts: bool = False
    leaving: float = 0.0


class _Duplicate:
    def __init__(self, descriptor: int) -> None:
        self._socket: socket.socket | None = None
        try:
            copy = os.dup(descriptor)
        except OSError:
            return
        try:
            self._socket = socket.socket(fileno=copy)
        except OSError:
            # It belongs to a file by now.
            os.close(copy)

    def __enter__(self) -> Self | None:
        return self if self._socket is not None else None

    def __exit__(self, *problem: object) -> None:
        if self._socket is not None:
            self._socket.close()

    def number(self) -> int:
        return os.fstat(self._socket.fileno()).st_ino if self._socket is not None else -1

    def ends(self) -> tuple | None:
        connection = self._socket
        if connection is None:
            return None
        try:
            process = 0
            if connection.family == socket.AF_UNIX:
                data = connection.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
                )
                process = _CREDENTIALS.unpack(data)[0]
            return connection.getsockname(), connection.getpeername(), process
        except OSError:
            return None

    def received(self) -> int | None:
        if self._socket is None or self._socket.family == socket.AF_UNIX:
            return None
        try:
            info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
        except OSError:
            return None
        return _RECEIVED.unpack_from(info, _RECEIVED_AT)[0]

    def shut(self) -> None:
        if self._socket is None:
            return
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # gone already, which is what was wanted
