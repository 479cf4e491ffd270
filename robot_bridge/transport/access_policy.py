"""Checks a peer's identity and disconnects peers: what the bridge asks of its socket."""

from __future__ import annotations

from typing import Protocol

from robot_bridge.transport.curve_keys import Role


class AccessPolicy(Protocol):
    """peer: its address. Each text that is returned is a reason, or "" for none."""

    def misuse(self, peer: bytes, role: Role, name: str) -> str:
        """Why a peer may not introduce itself with this role and name."""
        ...

    def void(self, peer: bytes) -> str:
        """Why a peer that was admitted must be disconnected."""
        ...

    def garbage(self, peer: bytes, stale: bool = False) -> str:
        """Note a frame that could not be read, or, stale, one of a session that is not known here:
        sent to a bridge before this one, perhaps. Why its sender must be disconnected."""
        ...

    def shut(self, peer: bytes) -> None:
        """Ignore this peer from now on; cut its connection once what was sent to it has left."""
        ...


class OpenAccess:
    """Admits every peer: for peers without a socket."""

    def misuse(self, peer: bytes, role: Role, name: str) -> str:
        return ""

    def void(self, peer: bytes) -> str:
        return ""

    def garbage(self, peer: bytes, stale: bool = False) -> str:
        return ""

    def shut(self, peer: bytes) -> None:
        return
