"""Inputs of the fuzzers: the parts of frames, so that mutated frames have a correct checksum.

An input is a row of pieces: u8 how | u16 length | bytes. The bytes of a `RAW` piece are a whole
frame. In any other piece the first 24 bytes are flags, sequence, time and session; the rest is the
payload, and the header is computed to fit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from robot_bridge.protocol import codec

RAW = 0
PIECE = struct.Struct("<BH")
HEAD = struct.Struct("<HQqQ")
# In a piece, this session stands for the one that the bridge has given to the sender.
OWN = 0
MOST = 8  # pieces of one input


def pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(how, bytes) of each piece; the last one may be cut off."""
    at = 0
    for _ in range(MOST):
        if len(data) - at < PIECE.size:
            return
        how, length = PIECE.unpack_from(data, at)
        at += PIECE.size
        yield how, data[at : at + length]
        at += length


def frame(how: int, content: bytes, session: int = 0, version: int = codec.PROTOCOL) -> bytes:
    """One frame from a piece. session: replaces OWN. how: the frame's kind in the low bits, and in
    the high bits by how much the version differs."""
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
    """Bytes as a RAW piece."""
    return PIECE.pack(RAW, len(data)) + data
