"""Where a bridge listens: checked before it is used, and left clean.

ipc sockets rely on the operating system: a private folder, mode 0600, and peers of the same user.
tcp sockets rely on keys, wherever they are bound; see `zap_authenticator`.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import socket
import stat
import struct
from pathlib import Path
from typing import BinaryIO

import zmq

from adapt.errors import PrivacyError
from adapt.private import check_folder, make_folder
from robot_bridge.errors import EndpointError

# The most that the kernel takes for a socket's path, its final zero included.
PATH_BYTES = 107
# What CURVE adds to a frame: command name, nonce, authenticator, flags. The bound is on the sum.
CURVE_BYTES = 8 + 8 + 16 + 1
# Connections that wait to be accepted, over ipc.
BACKLOG = 32
# Linux's SO_ATTACH_FILTER and SO_DETACH_FILTER, and a program of one instruction, "return 0": drop.
_ATTACH, _DETACH = 26, 27
_RETURN_0 = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0), 8)
_DROP_ALL = struct.pack("HP", 1, ctypes.addressof(_RETURN_0))
LOCAL = "local"
_HOST = r"\*|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]"
_TCP = re.compile(rf"tcp://({_HOST}):(\d{{1,5}})")
FORMS = f"{LOCAL}, ipc:///ABSOLUTE/PATH or tcp://HOST:PORT"


def resolve(endpoint: str) -> str:
    """The endpoint as ZeroMQ takes it: `local` becomes an ipc path of this user's own. Raises
    EndpointError for anything that is of none of FORMS."""
    if endpoint == LOCAL:
        endpoint = f"ipc://{_local_folder()}/bridge.ipc"
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        if not path.startswith("/"):
            raise EndpointError(f"{endpoint}: the path is not absolute; expected {FORMS}")
        if len(os.fsencode(path)) > PATH_BYTES:
            raise EndpointError(
                f"{endpoint}: the path has {len(os.fsencode(path))} bytes; a socket's has at most "
                f"{PATH_BYTES}"
            )
        return endpoint
    found = _TCP.fullmatch(endpoint)
    if found is None:
        raise EndpointError(f"{endpoint}: expected {FORMS}")
    if not 1 <= int(found[2]) <= 65535:
        raise EndpointError(f"{endpoint}: port {found[2]}; expected 1 to 65535")
    return endpoint


class Address:
    """A bridge's hold on its endpoint: no other bridge can take it while this one lives."""

    def __init__(self, endpoint: str) -> None:
        """Lock the endpoint, without binding. Raises EndpointError naming what prevents it."""
        self.endpoint = resolve(endpoint)
        self._path = ipc_path(self.endpoint)
        self.listener = -1  # descriptor of the listening socket, once libzmq has told it
        self._lock: BinaryIO | None = None
        self._bound = False
        if self._path is None:
            return
        _check_private(self._path, self.endpoint)
        self._lock = _lock(self._path, self.endpoint)

    def bind(self, server: zmq.Socket) -> None:
        """Bind, or raise EndpointError."""
        path = self._path
        if path is not None:
            _clear(path, self.endpoint)
            _clear(_hidden(path), self.endpoint)
            # Each that waits here is accepted, also when the path is hidden.
            server.set(zmq.BACKLOG, BACKLOG)
            # Asked of the kernel (SO_PEERCRED) when a peer connects.
            server.set(zmq.IPC_FILTER_UID, os.geteuid())
        elif "[" in self.endpoint:
            server.set(zmq.IPV6, 1)
        try:
            server.bind(self.endpoint)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise EndpointError(f"{self.endpoint}: in use by another process") from None
            raise EndpointError(f"{self.endpoint}: {error.strerror}") from None
        self._bound = True
        if path is not None:
            # A peer that may connect may move the robot. Until here the folder kept others out.
            path.chmod(0o600)

    def hide(self) -> bool:
        """Keep further peers from connecting; those that are connected stay. Over ipc the socket's
        file is moved aside; over tcp the kernel drops what comes to the listening socket. Peers try
        again by themselves. For any thread; False where it cannot be done."""
        if self._path is not None:
            return _move(self._path, _hidden(self._path))
        return _filter(self.listener, _ATTACH, _DROP_ALL)

    def show(self) -> None:
        """Undo `hide`. For any thread."""
        if self._path is not None:
            _move(_hidden(self._path), self._path)
        else:
            _filter(self.listener, _DETACH, struct.pack("i", 0))

    def release(self) -> None:
        """Remove the socket's file and its lock."""
        if self._path is None or self._lock is None:
            return
        if self._bound:
            self._path.unlink(missing_ok=True)
            _hidden(self._path).unlink(missing_ok=True)
        # While it is still held: a process that waits for it finds it gone, and makes a new one.
        _lock_path(self._path).unlink(missing_ok=True)
        self._lock.close()
        self._lock = None


def connect(client: zmq.Socket, endpoint: str) -> None:
    """Connect to a resolved endpoint. Raises EndpointError for one that another user could have
    put there, or that cannot be used."""
    path = ipc_path(endpoint)
    if path is not None:
        _check_private(path, endpoint)
    if "[" in endpoint:
        client.set(zmq.IPV6, 1)
    try:
        client.connect(endpoint)
    except zmq.ZMQError as error:
        raise EndpointError(f"{endpoint}: {error.strerror}") from None


def ipc_path(endpoint: str) -> Path | None:
    """The socket's file; None for tcp."""
    if not endpoint.startswith("ipc://"):
        return None
    return Path(endpoint.removeprefix("ipc://"))


def _local_folder() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/"):
        return Path(given) / "acclimate"
    return Path(f"/tmp/acclimate-{os.geteuid()}")  # noqa: S108  checked to be ours before use


def _check_private(path: Path, endpoint: str) -> None:
    try:
        if path.parent == _local_folder():
            # The first process makes it, also a client, before another user can.
            make_folder(path.parent)
        check_folder(path.parent)
    except PrivacyError as error:
        raise EndpointError(
            f"{endpoint}: {error}; an ipc socket belongs into a folder of yours with mode 0700"
        ) from None


def _hidden(path: Path) -> Path:
    return path.with_name(f"{path.name}.full")


def _filter(descriptor: int, option: int, value: bytes) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, option, value)
    except OSError:
        return False
    return True


def _move(one: Path, other: Path) -> bool:
    try:
        one.rename(other)
    except OSError:
        return False
    return True


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _lock(path: Path, endpoint: str) -> BinaryIO:
    """Held until closed, or until the process ends, however it ends."""
    where = _lock_path(path)
    while True:
        try:
            descriptor = os.open(
                where, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise EndpointError(f"{endpoint}: {where}: {error.strerror}") from None
        lock = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.fstat(lock.fileno())
            if where.exists() and where.stat().st_ino == held.st_ino:
                return lock
            # Its last holder took the file away between our opening and our locking it.
            lock.close()
        except BlockingIOError:
            lock.close()
            raise EndpointError(f"{endpoint}: in use by another process") from None
        except FileNotFoundError:
            lock.close()


def _clear(path: Path, endpoint: str) -> None:
    """Remove a socket whose owner was killed; we hold the lock."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EndpointError(f"{endpoint}: {path} is a file of another kind; choose another path")
    path.unlink(missing_ok=True)
