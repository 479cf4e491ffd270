"""Inputs of the fuzzers: frames by their parts, so that a mutated one still gets past its checksum.

An input is a row of pieces, each a kind of its own making: u8 how | u16 length | bytes. `RAW` bytes
are a frame as they are. Of any other piece the first 24 bytes are flags, sequence, time and
session, the rest the payload, around which a header is made that fits.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from robot_bridge.protocol import codec

RAW = 0
PIECE = struct.Struct("<BH")
HEAD = struct.Struct("<HQqQ")
# Of the session in a piece: this one stands for whichever the bridge has given its sender.
OWN = 0
MOST = 8  # pieces of one input


def pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(how, bytes) of each piece; what is cut off is the last one."""
    at = 0
    for _ in range(MOST):
        if len(data) - at < PIECE.size:
            return
        how, length = PIECE.unpack_from(data, at)
        at += PIECE.size
        yield how, data[at : at + length]
        at += length


def frame(how: int, content: bytes, session: int = 0, version: int = codec.PROTOCOL) -> bytes:
    """One frame from a piece. session: in place of OWN. how: the kind, and above it by how much
    the version differs."""
    if how == RAW:
        return content
    head, payload = content[: HEAD.size].ljust(HEAD.size, b"\0"), content[HEAD.size :]
    flags, sequence, time_ns, given = HEAD.unpack(head)
    number, strange = how & 31, how >> 5
    summed = codec.SUMMED.pack(
        codec.MAGIC,
        (version + strange) & 0xFF,
        number,
        flags,
        given or session,
        sequence,
        time_ns,
        len(payload),
    )
    return summed + codec.CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(summed))) + payload


def piece(data: bytes) -> bytes:
    """A whole frame as a piece, for seeds."""
    header = codec.HEADER.unpack_from(data)
    _, _, kind, flags, _, sequence, time_ns, _, _ = header
    content = HEAD.pack(flags, sequence, time_ns, OWN) + data[codec.HEADER.size :]
    return PIECE.pack(kind, len(content)) + content


def raw(data: bytes) -> bytes:
    """Bytes as a piece that is left as it is."""
    return PIECE.pack(RAW, len(data)) + data
