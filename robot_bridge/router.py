"""The bridge's socket: many peers, none of which can hold up another."""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from robot_bridge import endpoint as endpoints
from robot_bridge.codec import FRAME_BYTES

# A peer whose machine or process hangs is noticed by libzmq itself, on a thread of its own [ms].
HEARTBEAT_MS = 500
SILENCE_MS = 2000
# Long enough for a stop to leave, short enough for Ctrl-C [ms].
LINGER_MS = 300
# A peer that never stops talking must not keep the loop from its other duties.
BATCH = 64


class Router:
    """Receives (peer, frame) and sends frames to peers; never blocks on sending.

    Raises EndpointError when it cannot bind.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._bound = False
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.set(zmq.LINGER, LINGER_MS)
        # A peer that is gone is an error to hear of, not a message to lose.
        self._socket.set(zmq.ROUTER_MANDATORY, 1)
        self._socket.set(zmq.MAXMSGSIZE, FRAME_BYTES)
        self._socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        self._socket.set(zmq.HEARTBEAT_TIMEOUT, SILENCE_MS)
        try:
            endpoints.bind(self._socket, endpoint)
            self._bound = True
        except BaseException:
            self.close()
            raise

    def receive(self, timeout_ms: int) -> Iterator[tuple[bytes, bytes]]:
        """What has arrived, at most BATCH frames; waits at most timeout_ms for the first."""
        if not self._socket.poll(timeout_ms, zmq.POLLIN):
            return
        for _ in range(BATCH):
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            # Our clients send one part; whatever else comes is for the decoder to refuse.
            yield parts[0], b"".join(parts[1:])

    def send(self, peer: bytes, data: bytes) -> bool:
        """False when the peer is gone. A peer that does not read loses the frame: by the time it
        reads again, a command would be stale."""
        try:
            self._socket.send_multipart([peer, data], zmq.NOBLOCK)
        except zmq.Again:
            return True
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return False
            raise
        return True

    def close(self) -> None:
        """Let the last frames leave, and take the address away."""
        self._socket.close()
        self._context.term()
        if self._bound:
            endpoints.remove(self.endpoint)
            self._bound = False
