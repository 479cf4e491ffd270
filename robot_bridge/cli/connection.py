"""How a command reaches a bridge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robot_bridge.client.operator_client import CONNECT, OperatorClient


@dataclass(frozen=True, kw_only=True)
class Connection:
    """endpoint: of the bridge: local (this user's own socket), ipc:///PATH or tcp://HOST:PORT.
    keys: for tcp: folder of keys, or one certificate; null takes $ACCLIMATE_KEYS or
        ~/.config/acclimate/keys.
    """

    endpoint: str = "local"
    keys: Path | None = None


@contextmanager
def connected(where: Connection, name: str) -> Iterator[OperatorClient]:
    """An operator named `name`, connected. Raises BridgeLost where no bridge answers, and
    HandshakeError where it refuses."""
    with OperatorClient(where.endpoint, name, where.keys) as operator:
        operator.connect(CONNECT)
        yield operator
