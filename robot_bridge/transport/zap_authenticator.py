"""Decides who may connect over tcp: CURVE with a key that the bridge knows, asked by ZAP (RFC 27).

pyzmq's ThreadAuthenticator is not used: it does not tell its callback where a peer is, and would
run asyncio on a thread of its own beside the one that bounds connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import zmq
from zmq.utils import z85

from robot_bridge.transport.curve_keys import (
    CLIENTS,
    Identity,
    fingerprint,
    read_clients,
    read_server,
)

ZAP = "inproc://zeromq.zap.01"
DOMAIN = b"acclimate"
# The kernel's times of a folder are coarse: a second change right after the first may not show [s].
RACY = 1.0
REREAD = 0.1  # so for a while keys are read again this often [s]
RETRY = 0.5  # before keys that could not be read are tried again [s]
BAN = 10.0  # of a key whose holder sends garbage [s]


class ZapAuthenticator:
    """Answers for one ROUTER socket that is not bound yet. Raises KeyFileError, PrivacyError.

    known: who may connect, by key (Z85); replaced as a whole, so any thread may read it. tell(name,
    text): called with events. refuse(text): called for each handshake that is refused.
    """

    def __init__(
        self,
        context: zmq.Context,
        server: zmq.Socket,
        folder: Path,
        tell: Callable[[str, str], None],
        refuse: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._tell = tell
        self._refuse = refuse
        key = read_server(folder)
        self.fingerprint = fingerprint(key.public)
        server.set(zmq.CURVE_SERVER, 1)
        server.set(zmq.CURVE_SECRETKEY, key.secret.encode())
        server.set(zmq.ZAP_DOMAIN, DOMAIN)
        # Without this libzmq admits every key while no ZAP socket is bound.
        server.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self.known: dict[str, Identity] = {}
        self._problems: list[str] = []
        self._stamp: tuple[int, ...] = ()
        self._read_at = 0.0
        self._failure = ""
        self._retry_at = 0.0
        self._banned: dict[str, float] = {}
        self.refresh()
        self.socket = context.socket(zmq.REP)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(ZAP)

    def ban(self, public: str) -> None:
        """Refuse this key for BAN seconds."""
        self._banned[public] = time.monotonic() + BAN

    def answer(self) -> None:
        """Answer the next request of libzmq."""
        parts = self.socket.recv_multipart()
        version, request = [*parts, b"", b""][:2]
        public, refusal = self._judge(parts)
        status, text = (b"400", b"refused") if refusal else (b"200", b"OK")
        # ZAP's user id comes with every frame of the connection.
        user = b"" if refusal else public.encode()
        self.socket.send_multipart([version or b"1.0", request, status, text, user, b""])
        if refusal:
            self._refuse(refusal)

    def refresh(self) -> None:
        """Read the keys anew if they may have changed. If that fails, the known keys stay valid."""
        now = time.monotonic()
        if now < self._retry_at:
            return
        try:
            self._read()
        # Any exception: without this thread no peer could connect, not even to stop a robot.
        except Exception as error:
            self._retry_at = now + RETRY
            if self._failure != (found := f"{type(error).__name__}: {error}"):
                self._failure = found
                text = "no key is added or revoked until the keys can be read, which is tried"
                self._tell("admission_failed", f"{self._folder}: {text} every {RETRY:g} s: {found}")
        else:
            self._failure = ""

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

    def _read(self) -> None:
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
            self._tell("key_revoked", f"{before[public]} may not connect any more")
        if self._problems != problems:
            self._problems = problems
            for problem in problems:
                self._tell("key_unreadable", problem)
