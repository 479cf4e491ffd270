"""A peer's end of the connection: the handshake, then frames both ways."""

from __future__ import annotations

import time
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from robot_bridge.errors import BridgeError, BridgeLost, CodecError, HandshakeError
from robot_bridge.protocol.codec import (
    FRAME_BYTES,
    HEADER,
    RECORD_BYTES,
    Frame,
    decode,
    decode_message,
    decode_stop,
    encode,
    encode_message,
)
from robot_bridge.protocol.handshake import differences
from robot_bridge.protocol.messages import Hello, Kind, Lasting, Message, Refused, Welcome
from robot_bridge.protocol.timing import BRIDGE_LOST
from robot_bridge.transport import endpoint as endpoints
from robot_bridge.transport.curve_keys import Role, fingerprint, folder_of, read_certificate

LINGER_MS = 300  # for the last frame to leave
GLANCE = 0.1  # between two looks at the state of the handshake [s]
RECONNECT_MS = 50
WAITING = 100  # frames that may wait for a bridge that does not read


class ClientSocket:
    """One DEALER socket. It counts as connected once it has the Welcome. Belongs to one thread.

    role, name: as in the Hello. keys: over tcp, a folder of keys or one certificate; None for the
    default folder. Raises EndpointError, and KeyFileError or PrivacyError for the keys.
    """

    def __init__(self, endpoint: str, role: Role, name: str, keys: Path | None = None) -> None:
        self.endpoint = endpoints.resolve(endpoint)
        tcp = endpoints.ipc_path(self.endpoint) is None
        held = read_certificate(folder_of(keys), role, name) if tcp else None
        self.session = 0
        self._heard = 0.0
        # Why no further frame will come. Not the exception itself, whose traceback would keep
        # this object, and its socket open.
        self._over: tuple[type[BridgeError], str] | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._timeout_ms = 0  # as set on the socket
        self._socket.set(zmq.LINGER, LINGER_MS)
        self._socket.set(zmq.RECONNECT_IVL, RECONNECT_MS)
        # Frames that wait for a bridge that is away are stale when it is back, and refused: a new
        # bridge knows no session of the old one. ZMQ_IMMEDIATE would not let them wait, but also
        # drops what arrived just before the connection broke, such as a stop.
        self._socket.set(zmq.SNDHWM, WAITING)
        self._socket.set(zmq.MAXMSGSIZE, HEADER.size + RECORD_BYTES + endpoints.CURVE_BYTES)
        self._fate: zmq.Socket | None = None
        self._whose = ""
        try:
            if held is not None:
                self._whose = (
                    f"key {fingerprint(held.public)}, for bridge {fingerprint(held.server)}"
                )
                self._socket.set(zmq.CURVE_SERVERKEY, held.server.encode())
                self._socket.set(zmq.CURVE_PUBLICKEY, held.public.encode())
                self._socket.set(zmq.CURVE_SECRETKEY, held.secret.encode())
                self._fate = self._socket.get_monitor_socket(
                    zmq.Event.HANDSHAKE_FAILED_AUTH | zmq.Event.CONNECTED
                )
            endpoints.connect(self._socket, self.endpoint)
        except BaseException:
            self.close()
            raise

    def introduce(self, hello: Hello, timeout: float) -> Welcome:
        """Shake hands within timeout [s]. Raises HandshakeError with the bridge's reasons,
        BridgeLost when no bridge answers, CodecError for a hello that no bridge accepts; the socket
        is closed then."""
        try:
            return self._introduce(hello, timeout)
        except BaseException:
            self.close()
            raise

    def _introduce(self, hello: Hello, timeout: float) -> Welcome:
        deadline = time.monotonic() + timeout
        self.tell(_checked(hello))
        reached = False
        while (left := deadline - time.monotonic()) > 0:
            frame = self.receive(min(left, GLANCE) if self._fate else left)
            reached |= self._look()
            if frame is not None and frame.kind is Kind.WELCOME:
                welcome = decode_message(frame, Welcome)
                wrong = differences(welcome, welcome.digest, hello) if hello.role == "robot" else []
                if wrong:
                    raise HandshakeError(f"{self.endpoint}: served is not ours: {'; '.join(wrong)}")
                self.session = welcome.session
                self._unwatch()
                return welcome
        if reached:
            # A bridge with another key cannot read the request, and does not answer.
            raise BridgeLost(
                f"{self.endpoint}: something listens there and does not answer {self._whose}, "
                f"within {timeout:g} s; `acclimate keys list` on its machine shows its own key"
            )
        raise BridgeLost(
            f"{self.endpoint}: no bridge answers within {timeout:g} s; start one with "
            "`acclimate bridge`"
        )

    def _look(self) -> bool:
        """Whether a connection was made, if not yet its handshake. Raises HandshakeError when the
        bridge refuses our key."""
        made = False
        while self._fate is not None and self._fate.poll(0):
            message = recv_monitor_message(self._fate)
            if message["event"] == zmq.Event.HANDSHAKE_FAILED_AUTH:
                raise HandshakeError(
                    f"{self.endpoint}: refused: {self._whose}, is unknown there or revoked"
                )
            made = True
        return made

    def _unwatch(self) -> None:
        if self._fate is not None:
            self._socket.disable_monitor()
            self._fate.close(0)
            self._fate = None

    def tell(self, data: bytes) -> bool:
        """Send one frame without waiting; False when too many wait already, or after `close`."""
        if self._socket.closed:
            return False
        try:
            self._socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def send(self, message: Message) -> None:
        """Send one struct. Raises BridgeLost when the bridge is known to be gone, CodecError for a
        struct that no bridge accepts."""
        self._check_over()
        data = _checked(message, self.session)
        if not self.tell(data):
            raise BridgeLost(f"{self.endpoint}: the bridge is gone")

    def receive(self, timeout: float) -> Frame | None:
        """The next frame within timeout [s], or None.

        Raises BridgeLost when the bridge closes, HandshakeError when it refuses this peer (a bridge
        that was restarted does not know its session), CodecError for a frame that no bridge sends.
        The first two are final: every later call raises the same. After `close` it is BridgeLost.
        """
        self._check_over()
        # Waiting within the receipt is what costs least: poll() alone takes 10 us.
        flags = zmq.NOBLOCK
        if timeout > 0:
            flags = 0
            # Rounded up: a wait of 0 ms would spin.
            timeout_ms = int(timeout * 1000) + 1
            if timeout_ms != self._timeout_ms:
                self._timeout_ms = timeout_ms
                self._socket.set(zmq.RCVTIMEO, timeout_ms)
        try:
            data = self._socket.recv(flags)
        except zmq.Again:
            return None
        frame = decode(data)
        self._heard = time.monotonic()
        if frame.kind is Kind.REFUSED:
            reasons = decode_message(frame, Refused).reasons
            self._over = HandshakeError, f"{self.endpoint}: refused: {'; '.join(reasons)}"
        if frame.kind is Kind.STOP:
            stop = decode_stop(frame)
            if stop.closing:
                self._over = BridgeLost, f"{self.endpoint}: the bridge closed: {stop.reason}"
        self._check_over()
        return frame

    def quiet(self) -> float:
        """Seconds since the bridge was last heard."""
        return time.monotonic() - self._heard

    def check_alive(self) -> None:
        """Raises BridgeLost when the bridge has been silent for longer than BRIDGE_LOST."""
        if self.quiet() > BRIDGE_LOST:
            raise BridgeLost(f"{self.endpoint}: nothing from the bridge for {self.quiet():.1f} s")

    def _check_over(self) -> None:
        if self._over is not None:
            kind, text = self._over
            raise kind(text)

    def close(self) -> None:
        """Say goodbye where there is a session, and close the socket."""
        if self._socket.closed:
            return
        if self.session and self._over is None:
            self.tell(encode(Kind.BYE, session=self.session))
        else:
            self._socket.set(zmq.LINGER, 0)
        self._over = self._over or (BridgeLost, f"{self.endpoint}: this end of it was closed")
        self._unwatch()
        self._socket.close()
        self._context.term()


def _checked(message: Message | Lasting, session: int = 0) -> bytes:
    """One frame, decoded once as a check: the bridge would drop what breaks a bound."""
    data = encode_message(message, session=session)
    if len(data) > FRAME_BYTES:
        raise CodecError(f"frame of {len(data)} bytes; a bridge takes at most {FRAME_BYTES}")
    decode_message(decode(data), type(message))
    return data
