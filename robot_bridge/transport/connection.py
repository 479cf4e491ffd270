"""One accepted connection, as the kernel sees it; libzmq itself can close none.

libzmq's I/O thread may close a descriptor at any time, and the next connection or file take its
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
    """descriptor: libzmq's. ends: its two addresses, and the peer's process where the kernel
    knows it. number: the kernel's own of the socket, which tells it from a later connection with
    the same descriptor: one process may come again and again, and over ipc its ends are the same.
    """

    descriptor: int
    ends: tuple
    number: int

    @classmethod
    def of(cls, descriptor: int) -> Self | None:
        """None when it is not, or no longer, a connection."""
        with _Duplicate(descriptor) as duplicate:
            ends = duplicate.ends() if duplicate is not None else None
            if duplicate is None or ends is None:
                return None
            return cls(descriptor, ends, duplicate.number())

    @property
    def host(self) -> str:
        """Where the peer is."""
        peer = self.ends[1]
        return peer[0] if isinstance(peer, tuple) else f"process {self.ends[2]}"

    def alive(self) -> bool:
        """Whether the descriptor still is this connection."""
        return Connection.of(self.descriptor) == self

    def received(self) -> int | None:
        """Bytes that the kernel has taken in for it; None over ipc, or when it is gone."""
        with _Duplicate(self.descriptor) as duplicate:
            if duplicate is None or duplicate.number() != self.number:
                return None
            return duplicate.received()

    def shut(self) -> None:
        """End it in both directions; libzmq notices and cleans up."""
        with _Duplicate(self.descriptor) as duplicate:
            if duplicate is not None and duplicate.number() == self.number:
                duplicate.shut()


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
            # A file by now.
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
