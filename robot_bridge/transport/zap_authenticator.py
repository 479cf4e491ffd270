"""Who may connect over tcp: CURVE with a key that the bridge knows, asked for by ZAP (RFC 27).

A thread of its own, so that no stranger costs the loop anything. It re-reads the keys when their
folder changes, and looks after the `lobby`. Without it nobody gets in: ZAP's domain is enforced.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

import zmq
from zmq.utils import z85

from robot_bridge.transport.connection_limiter import Lobby
from robot_bridge.transport.curve_keys import (
    CLIENTS,
    Identity,
    fingerprint,
    read_clients,
    read_server,
)
from robot_bridge.transport.peer_connection import Guest

ZAP = "inproc://zeromq.zap.01"
DOMAIN = b"acclimate"
GLANCE_MS = 200  # between looks at the folder of keys
# Times of a folder are as coarse as the kernel's tick: a second change within it may not show [s].
RACY = 1.0
REREAD = 0.1  # and so they are read again, so often [s]
RETRY = 0.5  # before keys that could not be read are tried again [s]
BAN = 10.0  # of a key whose holder sends garbage [s]
AGAIN = 10.0  # before the same refusal is told again [s]
TOLD = 256  # refusals remembered for that


class Door:
    """Guards one ROUTER socket that is not bound yet. Raises KeyFileError, PrivacyError.

    refused: handshakes that came to nothing, since the start. known: who may connect, by key (Z85);
    replaced as a whole, so any thread may read it.
    """

    def __init__(self, context: zmq.Context, server: zmq.Socket, folder: Path) -> None:
        self._folder = folder
        key = read_server(folder)
        self.fingerprint = fingerprint(key.public)
        server.set(zmq.CURVE_SERVER, 1)
        server.set(zmq.CURVE_SECRETKEY, key.secret.encode())
        server.set(zmq.ZAP_DOMAIN, DOMAIN)
        # Without this libzmq would let every key in while nobody answers for ZAP.
        server.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.refused = 0
        self.known: dict[str, Identity] = {}
        self._problems: list[str] = []
        self._stamp: tuple[int, ...] = ()
        self._read_at = 0.0
        self._failure = ""
        self._retry_at = 0.0
        self._news: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._told: dict[str, float] = {}
        self._banned: dict[str, float] = {}
        self._refresh()
        self._lobby = Lobby(server, self._refuse)
        self._zap = context.socket(zmq.REP)
        self._zap.set(zmq.LINGER, 0)
        self._zap.bind(ZAP)
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
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

    def spoke(self, guest: Guest) -> None:
        """A frame came through this guest's connection: no stranger any more."""
        self._lobby.spoke(guest)

    def ban(self, public: str) -> None:
        """Let this key not in for BAN seconds."""
        self._banned[public] = time.monotonic() + BAN

    def join(self) -> None:
        """Wait for the thread, once its context is being terminated."""
        self._thread.join()

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._zap, zmq.POLLIN)
        poller.register(self._lobby.monitor, zmq.POLLIN)
        try:
            while True:
                ready = dict(poller.poll(GLANCE_MS))
                self._refresh()
                if self._zap in ready:
                    self._answer()
                if self._lobby.monitor in ready:
                    self._lobby.watch()
                self._lobby.measure()
        except zmq.ContextTerminated:
            return
        except Exception as error:
            # Nobody comes in from now on; whoever is in stays, and people must hear of it.
            self._news.put(("door_failed", f"no more peers can connect: {error!r}"))
            raise
        finally:
            self._zap.close()
            self._lobby.monitor.close(0)

    def _answer(self) -> None:
        parts = self._zap.recv_multipart()
        version, request = [*parts, b"", b""][:2]
        public, refusal = self._judge(parts)
        status = b"400" if refusal else b"200"
        words = b"refused" if refusal else b"OK"
        # ZAP's user id comes with every frame of the connection.
        user = b"" if refusal else public.encode()
        self._zap.send_multipart([version or b"1.0", request, status, words, user, b""])
        if refusal:
            self._refuse(refusal)

    def _judge(self, parts: list[bytes]) -> tuple[str, str]:
        """The key (Z85), and why it may not connect, or ""."""
        if len(parts) != 7 or parts[5] != b"CURVE" or len(parts[6]) != 32:
            return "", "a handshake without a CURVE key"
        where = parts[3].decode("ascii", "replace")
        public = z85.encode(parts[6]).decode()
        identity = self.known.get(public)
        if identity is None:
            return public, f"key {fingerprint(public)} from {where}: unknown or revoked"
        if time.monotonic() < self._banned.get(public, 0.0):
            return public, f"{identity} from {where}: sent garbage less than {BAN:g} s ago"
        self._banned.pop(public, None)
        return public, ""

    def _refresh(self) -> None:
        """`_read`; where that fails, whoever was known stays known, and people hear of it."""
        now = time.monotonic()
        if now < self._retry_at:
            return
        try:
            self._read()
        # Whatever it is: without this thread nobody could connect, not even to stop a robot.
        except Exception as error:
            self._retry_at = now + RETRY
            if self._failure != repr(error):
                self._failure = repr(error)
                text = "no key is added or revoked until the keys can be read, which is tried"
                self._news.put(
                    ("door_failed", f"{self._folder}: {text} every {RETRY:g} s: {error!r}")
                )
        else:
            self._failure = ""

    def _read(self) -> None:
        """Read the keys anew if their folder may have changed."""
        now = time.time()
        try:
            info = (self._folder / CLIENTS).stat()
            stamp = (info.st_dev, info.st_ino, info.st_mtime_ns, info.st_ctime_ns)
            racy = self._read_at - info.st_mtime < RACY and not 0 <= now - self._read_at < REREAD
        except OSError:
            stamp, racy = (), False
        if stamp == self._stamp and not racy and self._read_at:
            return
        before = self.known
        self.known, problems = read_clients(self._folder)
        self._stamp, self._read_at = stamp, now
        for public in before.keys() - self.known.keys():
            self._news.put(("key_revoked", f"{before[public]} may not connect any more"))
        if self._problems != problems:
            self._problems = problems
            for problem in problems:
                self._news.put(("key_unreadable", problem))

    def _refuse(self, text: str, kind: str = "") -> None:
        """Count, and tell; the same again only after a while, or a stranger would fill the log."""
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
        self._news.put(("peer_refused", f"{text}; {self.refused} refused since the start"))
