"""Which of the observations that wait are no longer worth an answer.

A driver sends its next observation a control period after the one before, with or without an
answer, and passes over answers to older ones. A bridge that has fallen behind therefore finds
several of one robot in its socket, of which only the newest matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from robot_bridge.errors import CodecError
from robot_bridge.protocol.codec import decode
from robot_bridge.protocol.messages import Kind

# Where a header has them; see `codec`.
_KIND = 5
_SESSION = slice(8, 16)


def superseded(frames: Sequence[tuple[bytes, bytes]]) -> list[bool]:
    """For each (address, frame), in the order of their arrival: whether it is an observation behind
    which a readable one of the same peer and session waits."""
    newest: dict[bytes, bytes] = {}  # sessions, by address
    found = [False] * len(frames)
    for index in range(len(frames) - 1, -1, -1):
        address, data = frames[index]
        if len(data) <= _KIND or data[_KIND] != Kind.OBSERVATION:
            continue
        if address in newest:
            found[index] = data[_SESSION] == newest[address]
        elif _readable(data):
            newest[address] = data[_SESSION]
    return found


def _readable(data: bytes) -> bool:
    try:
        decode(data)
    except CodecError:
        return False
    return True
