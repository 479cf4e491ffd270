"""The thread that admits and bounds connections, so that no stranger costs the bridge's loop time.

It owns the connection limiter and, over tcp, the authenticator. Over tcp, without this thread no
peer is admitted: the domain of ZAP is enforced.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

import zmq

from robot_bridge.transport.connection_limiter import ConnectionLimiter
from robot_bridge.transport.endpoint import Address
from robot_bridge.transport.zap_authenticator import ZapAuthenticator

GLANCE_MS = 200  # between two looks at the folder of keys
AGAIN = 10.0  # before the same refusal is told again [s]
TOLD = 256  # refusals remembered for that


class ConnectionMonitor:
    """Watches one ROUTER socket that is not bound yet. Raises KeyFileError, PrivacyError.

    address: of the socket. most: connections. keys: folder of keys, for tcp; None for ipc, where
    the kernel checks the peer's user. refused: connections refused or cut since the start.
    """

    def __init__(
        self,
        context: zmq.Context,
        server: zmq.Socket,
        address: Address,
        most: int,
        keys: Path | None,
    ) -> None:
        self.refused = 0
        self._news: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._told: dict[str, float] = {}
        self.authenticator: ZapAuthenticator | None = None
        if keys is not None:
            self.authenticator = ZapAuthenticator(context, server, keys, self._tell, self.refuse)
        self._limiter = ConnectionLimiter(server, address, most, self.refuse)
        self.heard = self._limiter.heard
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)
        self._thread.start()

    def news(self) -> list[tuple[str, str]]:
        """What has happened since the last call: (name of the event, text)."""
        found: list[tuple[str, str]] = []
        while not self._news.empty():
            try:
                found.append(self._news.get_nowait())
            except Empty:
                break
        return found

    def join(self) -> None:
        """Wait for the thread, once its context is being terminated."""
        self._thread.join()

    def refuse(self, text: str, kind: str = "") -> None:
        """Count a refusal, and tell it unless one of its kind was told within AGAIN."""
        self.refused += 1
        now = time.monotonic()
        kind = kind or text
        if now < self._told.get(kind, 0.0):
            return
        if len(self._told) >= TOLD:
            self._told = {what: until for what, until in self._told.items() if now < until}
            if len(self._told) >= TOLD:
                return
        self._told[kind] = now + AGAIN
        self._tell("peer_refused", f"{text}; {self.refused} refused since the start")

    def _tell(self, name: str, text: str) -> None:
        self._news.put((name, text))

    def _run(self) -> None:
        limiter, authenticator = self._limiter, self.authenticator
        poller = zmq.Poller()
        poller.register(limiter.monitor, zmq.POLLIN)
        if authenticator is not None:
            poller.register(authenticator.socket, zmq.POLLIN)
        try:
            while True:
                ready = dict(poller.poll(GLANCE_MS))
                if authenticator is not None:
                    authenticator.refresh()
                    if authenticator.socket in ready:
                        authenticator.answer()
                if limiter.monitor in ready:
                    limiter.watch()
                limiter.tend()
        except zmq.ContextTerminated:
            return
        except Exception as error:
            # Peers that are connected stay.
            self._tell(
                "admission_failed", f"no more peers can connect: {type(error).__name__}: {error}"
            )
            raise
        finally:
            limiter.monitor.close(0)
            if authenticator is not None:
                authenticator.socket.close(0)
