"""One connection that has spoken, as the loop knows it."""

from __future__ import annotations

from dataclasses import dataclass

from robot_bridge.transport.connection import Connection


@dataclass(eq=False)
class Guest:
    """public: the key (Z85) that opened the connection, "" over ipc. connection: None when it was
    gone before it could be looked at. patience: frames of garbage that it may still send, as of
    `at` [s]. frames: heard so far. parts: whether it sent several as one message. leaving: when it
    is cut off [s], or 0."""

    public: str
    connection: Connection | None
    patience: float
    at: float
    frames: int = 0
    parts: bool = False
    leaving: float = 0.0
