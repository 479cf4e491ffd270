"""Peer: a connection after its handshake."""

from __future__ import annotations

from dataclasses import dataclass

from robot_bridge.protocol.messages import Heartbeat
from robot_bridge.session.robot_session import Robot


@dataclass(eq=False)
class Peer:
    """robot: None for an operator. operator: who began the robot's episode. demands: digest of the
    bundle that a robot's driver was made for, or "". heard_ns: when it last said anything [ns];
    silent: for so long that it has been told. heartbeat: a robot's latest."""

    address: bytes
    session: int
    name: str
    robot: Robot | None
    operator: Peer | None = None
    demands: str = ""
    heard_ns: int = 0
    silent: bool = False
    heartbeat: Heartbeat | None = None
