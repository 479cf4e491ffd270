"""A socket that sends nothing: frames go to a function, and the client reads frames put there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from robot_bridge.errors import BridgeLost, HandshakeError
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import Hello, Kind, Message, Refused, Welcome


class FakeSocket:
    """The interface of `ClientSocket`; no call waits. post: called with every frame sent. pump:
    called before the client reads, to put frames into `inbox`."""

    def __init__(
        self,
        post: Callable[[bytes], object] = lambda data: None,
        pump: Callable[[], object] = lambda: None,
    ) -> None:
        self.inbox: deque[bytes] = deque()
        self.sent: list[codec.Frame] = []
        self.session = 0
        self.silence = 0.0
        self.post, self.pump = post, pump
        self._over: Exception | None = None

    def introduce(self, hello: Hello, timeout: float) -> Welcome:
        self.tell(codec.encode_message(hello))
        self.pump()
        welcome = codec.decode_message(codec.decode(self.inbox.popleft()), Welcome)
        self.session = welcome.session
        return welcome

    def tell(self, data: bytes) -> bool:
        self.sent.append(codec.decode(data))
        self.post(data)
        return True

    def send(self, message: Message) -> None:
        self._check()
        self.tell(codec.encode_message(message, session=self.session))

    def receive(self, timeout: float) -> codec.Frame | None:
        self._check()
        self.pump()
        if not self.inbox:
            return None
        frame = codec.decode(self.inbox.popleft())
        if frame.kind is Kind.REFUSED:
            reasons = codec.decode_message(frame, Refused).reasons
            self._over = HandshakeError(f"refused: {'; '.join(reasons)}")
        if frame.kind is Kind.STOP and codec.decode_stop(frame).closing:
            self._over = BridgeLost("the bridge closed")
        self._check()
        return frame

    def quiet(self) -> float:
        return self.silence

    def check_alive(self) -> None:
        if self.silence > 3.0:
            raise BridgeLost("nothing from the bridge")

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self._over is not None:
            raise self._over
