"""What the bridge's peers ask of its socket: who somebody is, and to be rid of him."""

from __future__ import annotations

from typing import Protocol

from robot_bridge.transport.curve_keys import Role


class Gate(Protocol):
    """Every answer in words is a reason, or "" for none. peer: its address."""

    def misuse(self, peer: bytes, role: Role, name: str) -> str:
        """Why a peer may not introduce itself so."""
        ...

    def void(self, peer: bytes) -> str:
        """Why a peer that was let in must go."""
        ...

    def garbage(self, peer: bytes) -> str:
        """Note a frame that made no sense; why its sender must go."""
        ...

    def shut(self, peer: bytes) -> None:
        """Hear this peer no more, and cut its connection once what was sent to it has left."""
        ...


class OpenGate:
    """Lets everybody in: for peers without a socket."""

    def misuse(self, peer: bytes, role: Role, name: str) -> str:
        return ""

    def void(self, peer: bytes) -> str:
        return ""

    def garbage(self, peer: bytes) -> str:
        return ""

    def shut(self, peer: bytes) -> None:
        return
