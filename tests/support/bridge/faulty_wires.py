"""Wires that do harm: a man in the middle of frames, and a cable that can be pulled."""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import zmq

from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Kind

# What becomes of a frame: what is sent instead of it, each after so many seconds.
Fate = Callable[[bytes], list[tuple[float, bytes]]]


def whole(data: bytes) -> list[tuple[float, bytes]]:
    """A wire without faults."""
    return [(0.0, data)]


class Wire:
    """A man in the middle of one robot's ipc connection. up, down: what becomes of each frame to
    the bridge and to the robot; set them at any time. seen: the latest of each kind."""

    def __init__(self, folder: Path, name: str, bridge: str) -> None:
        self.endpoint = f"ipc://{folder}/{name}"
        self.up: Fate = whole
        self.down: Fate = whole
        self.seen: dict[Kind, bytes] = {}
        self._bridge = bridge
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.bind(self.endpoint)
        # The client asks for a folder and a socket of its own user's alone.
        (folder / name).chmod(0o600)
        self._over = threading.Event()
        self._waiting: list[tuple[float, int, str, bytes]] = []
        self._count = itertools.count()
        self._peer = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def replay(self, direction: str, data: bytes) -> None:
        """Send a frame that was seen, or made up."""
        heapq.heappush(self._waiting, (time.monotonic(), next(self._count), direction, data))

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._front.close(0)
        self._context.term()

    def _run(self) -> None:
        back = self._context.socket(zmq.DEALER)
        back.set(zmq.LINGER, 0)
        back.connect(self._bridge)
        poller = zmq.Poller()
        for end in (self._front, back):
            poller.register(end, zmq.POLLIN)
        while not self._over.is_set():
            ready = dict(poller.poll(2))
            if self._front in ready:
                self._peer, data = self._front.recv_multipart()
                self._take("up", self.up, data)
            if back in ready:
                self._take("down", self.down, back.recv())
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, _, direction, data = heapq.heappop(self._waiting)
                if direction == "up":
                    back.send(data)
                else:
                    self._front.send_multipart([self._peer, data])
        back.close()

    def _take(self, direction: str, fate: Fate, data: bytes) -> None:
        self.seen[codec.decode(data).kind] = data
        for delay, changed in fate(data):
            due = time.monotonic() + delay
            heapq.heappush(self._waiting, (due, next(self._count), direction, changed))


def only(kind: Kind, fate: Fate) -> Fate:
    """A fate for frames of one kind."""
    return lambda data: fate(data) if data[5] == kind else whole(data)


def resealed(data: bytes, change: Callable[[bytearray], object]) -> bytes:
    """A frame with some of its bytes changed, and a checksum that fits."""
    changed = bytearray(data)
    change(changed)
    summed = zlib.crc32(changed[codec.HEADER.size :], zlib.crc32(changed[: codec.SUMMED.size]))
    changed[codec.SUMMED.size : codec.HEADER.size] = codec.CHECKSUM.pack(summed)
    return bytes(changed)


class Cable:
    """A tcp connection's bytes, carried until it is pulled. endpoint: where the robot connects."""

    def __init__(self, bridge: str) -> None:
        self._to = int(bridge.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.pulled = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        pairs: dict[socket.socket, socket.socket] = {}
        while not self._over.is_set():
            if self.pulled:
                # Nothing is read and nothing is refused: the ends notice nothing but silence.
                time.sleep(0.005)
                continue
            ready, _, _ = select.select([self._listener, *pairs], [], [], 0.02)
            for end in ready:
                if end is self._listener:
                    one, _ = self._listener.accept()
                    other = socket.create_connection(("127.0.0.1", self._to))
                    pairs |= {one: other, other: one}
                elif end in pairs:
                    _carry(end, pairs)
        for end in pairs:
            end.close()


def _carry(end: socket.socket, pairs: dict[socket.socket, socket.socket]) -> None:
    try:
        data = end.recv(65536)
        if data:
            pairs[end].sendall(data)
            return
    except OSError:
        data = b""
    other = pairs.pop(end)
    pairs.pop(other, None)
    end.close()
    other.close()
