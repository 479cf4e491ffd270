"""Keys for tests over tcp."""

import socket
from pathlib import Path

from robot_bridge.transport.key_store import KeyFolder


def make(folder: Path, *, robots=("arm",), operators=("operator",)) -> Path:
    """A folder with a bridge's key and certificates of these peers; folder must not exist."""
    keys = KeyFolder(folder)
    keys.make_server()
    for name in robots:
        keys.make_client("robot", name)
    for name in operators:
        keys.make_client("operator", name)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
