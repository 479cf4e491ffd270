"""Where a bridge listens: checked before it is used, and left clean."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

import zmq

from robot_bridge.errors import EndpointError

# What the kernel takes for a socket's path, its final zero included.
PATH_BYTES = 107
_TCP = re.compile(r"tcp://(?:127\.0\.0\.1|localhost):(\d{1,5})")
FORMS = "ipc:///ABSOLUTE/PATH or tcp://127.0.0.1:PORT"


def check(endpoint: str) -> None:
    """Raises EndpointError unless the endpoint is of a form that stays on this machine."""
    if endpoint.startswith("ipc://"):
        path = endpoint.removeprefix("ipc://")
        if not path.startswith("/"):
            raise EndpointError(f"{endpoint}: the path is not absolute; expected {FORMS}")
        if len(os.fsencode(path)) > PATH_BYTES:
            raise EndpointError(
                f"{endpoint}: the path has {len(os.fsencode(path))} bytes; a socket's has at most "
                f"{PATH_BYTES}"
            )
        return
    port = _TCP.fullmatch(endpoint)
    if port is None:
        # Frames are neither encrypted nor signed, so they must not leave this machine.
        raise EndpointError(f"{endpoint}: expected {FORMS}")
    if not 1 <= int(port[1]) <= 65535:
        raise EndpointError(f"{endpoint}: port {port[1]}; expected 1 to 65535")


def bind(server: zmq.Socket, endpoint: str) -> None:
    """Bind, or raise EndpointError naming what is in the way."""
    check(endpoint)
    path = ipc_path(endpoint)
    if path is not None:
        _clear(path, endpoint)
    try:
        server.bind(endpoint)
    except zmq.ZMQError as error:
        if error.errno == zmq.EADDRINUSE:
            raise EndpointError(f"{endpoint}: in use by another process") from None
        raise EndpointError(f"{endpoint}: {error.strerror}") from None
    if path is not None:
        # Whoever may connect may move the robot.
        path.chmod(0o600)


def remove(endpoint: str) -> None:
    """Take the socket's file away; nothing to do for tcp."""
    path = ipc_path(endpoint)
    if path is not None:
        path.unlink(missing_ok=True)


def ipc_path(endpoint: str) -> Path | None:
    """The socket's file; None for tcp."""
    if not endpoint.startswith("ipc://"):
        return None
    return Path(endpoint.removeprefix("ipc://"))


def _clear(path: Path, endpoint: str) -> None:
    """Make room for the socket: libzmq itself would silently take a living bridge's address."""
    if not path.parent.is_dir():
        raise EndpointError(f"{endpoint}: there is no folder {path.parent}")
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EndpointError(f"{endpoint}: {path} is a file of another kind; choose another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            # Left behind by a process that was killed.
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise EndpointError(f"{endpoint}: {error.strerror}") from None
    raise EndpointError(f"{endpoint}: in use by another process")
