"""Frames: a fixed header, then raw float32 or one MessagePack struct. Nothing here runs code.

Header, little-endian, 40 bytes:

    magic 4s | version u8 | kind u8 | flags u16 | session u64 | sequence u64 | time i64 [ns]
    | payload length u32 | CRC-32 u32 over the header before it and the payload

Observation: reward f32 | faults u32 | (n_o,) f32.
Command: validity i64 | received i64 | sent i64, all [ns] | belief version u32 | mode u8 | shadow u8
    | 2 zero bytes | (n_a,) f32. Flags: 2 where a probing episode is over, else 0.
Bye is empty. All others are MessagePack maps of the structs in `messages`.

Every version can read every HELLO and every REFUSED: this header, and the fields they have now.
"""

from __future__ import annotations

import math
import struct
import time
import zlib
from typing import TypeVar, cast

import msgspec
import numpy as np

from robot_bridge.errors import CodecError, VersionError
from robot_bridge.protocol.messages import (
    BODIES,
    FLAGS,
    PROTOCOL,
    Command,
    Flag,
    Float32,
    Kind,
    Lasting,
    Message,
    Mode,
    Observation,
    Stop,
)
from robot_bridge.protocol.operator_messages import OPERATOR_BODIES

MAGIC = b"ACLM"
HEADER = struct.Struct("<4sBBHQQqII")
SUMMED = struct.Struct("<4sBBHQQqI")  # of it: what comes before the checksum
CHECKSUM = struct.Struct("<I")
OBSERVATION = struct.Struct("<fI")
COMMAND = struct.Struct("<qqqIBB2x")

CONTROL_BYTES = 64 * 1024  # a handshake with 2 × 256 fields fits
RECORD_BYTES = 16 * 1024 * 1024  # 2,000 steps of 2,000 numbers
FRAME_BYTES = HEADER.size + CONTROL_BYTES  # the most that a bridge accepts from a peer

_LASTING = (Kind.HELLO, Kind.REFUSED)
_LONG = (Kind.EPISODE_RECORD, Kind.STATUS)
# Looked up for every frame; making an enum's member from a number takes a microsecond.
_KINDS = {int(kind): kind for kind in Kind}
_MODES = {int(mode): mode for mode in Mode}
_OVER = int(Flag.LAST)  # of a command: the bridge needs no more of a probing episode
_ALL_FLAGS = int(Flag.FIRST | Flag.LAST | Flag.TERMINAL | Flag.UNAPPLIED)
_MOST = {
    kind: RECORD_BYTES if kind in _LONG else 0 if kind is Kind.BYE else CONTROL_BYTES
    for kind in Kind
}
_NUMBERS = np.dtype("<f4")
_ENCODER = msgspec.msgpack.Encoder()
_BODIES = BODIES | OPERATOR_BODIES
_DECODERS = {body: msgspec.msgpack.Decoder(body) for body in _BODIES.values()}
_KIND_OF = {body: kind for kind, body in _BODIES.items()}

M = TypeVar("M", bound=Message | Lasting)


class Frame(msgspec.Struct, frozen=True):
    """A frame whose header and checksum are right; its payload was not read yet."""

    kind: Kind
    flags: int
    session: int
    sequence: int
    time_ns: int
    payload: bytes
    version: int = PROTOCOL


def encode(
    kind: Kind,
    payload: bytes = b"",
    *,
    session: int = 0,
    sequence: int = 0,
    flags: int = 0,
    time_ns: int | None = None,
    version: int = PROTOCOL,
) -> bytes:
    """One frame. time_ns: None takes this machine's monotonic clock. Raises CodecError if the
    payload is larger than its kind may be."""
    if len(payload) > _MOST[kind]:
        raise CodecError(
            f"{kind.name}: payload of {len(payload)} bytes; at most {_MOST[kind]} are allowed"
        )
    now = time.monotonic_ns() if time_ns is None else time_ns
    header = SUMMED.pack(MAGIC, version, kind, flags, session, sequence, now, len(payload))
    return header + CHECKSUM.pack(zlib.crc32(payload, zlib.crc32(header))) + payload


def decode(data: bytes) -> Frame:
    """Check and open one frame. Raises CodecError naming the part of it that is wrong."""
    if len(data) < HEADER.size:
        raise CodecError(f"frame of {len(data)} bytes; a header alone has {HEADER.size}")
    magic, version, number, flags, session, sequence, time_ns, length, checksum = (
        HEADER.unpack_from(data)
    )
    if magic != MAGIC:
        raise CodecError(f"magic {magic!r}; expected {MAGIC!r}")
    if version != PROTOCOL and number not in _LASTING:
        raise VersionError(f"protocol version {version}; expected {PROTOCOL}", version)
    kind = _KINDS.get(number)
    if kind is None:
        raise CodecError(f"kind {number}; expected 1 to {max(Kind)}")
    if length != len(data) - HEADER.size:
        raise CodecError(
            f"{kind.name}: payload length {length}; {len(data) - HEADER.size} bytes follow"
        )
    if length > _MOST[kind]:
        raise CodecError(f"{kind.name}: payload length {length}; at most {_MOST[kind]}")
    payload = data[HEADER.size :]
    found = zlib.crc32(payload, zlib.crc32(data[: SUMMED.size]))
    if found != checksum:
        raise CodecError(f"{kind.name}: checksum {checksum:08x}; the bytes give {found:08x}")
    return Frame(kind, flags, session, sequence, time_ns, payload, version)


def encode_message(
    message: Message | Lasting, *, session: int = 0, version: int = PROTOCOL
) -> bytes:
    """One frame around a struct of `messages`. Raises CodecError for text that UTF-8 cannot carry:
    a file's name may hold bytes that are no text, which Python keeps as lone surrogates."""
    kind = _KIND_OF[type(message)]
    try:
        payload = _ENCODER.encode(message)
    except UnicodeEncodeError as error:
        raise CodecError(
            f"{kind.name}: {error.object!a} is not text that UTF-8 can carry"
        ) from None
    return encode(kind, payload, session=session, version=version)


def decode_message(frame: Frame, expected: type[M]) -> M:
    """The struct in a frame. Raises CodecError naming the field that is wrong."""
    if _BODIES.get(frame.kind) is not expected:
        raise CodecError(f"{frame.kind.name}: expected {_KIND_OF[expected].name}")
    try:
        return cast(M, _DECODERS[expected].decode(frame.payload))
    # Text that is not UTF-8, and too deep nesting, have their own errors.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(f"{frame.kind.name}: {error}") from None


def decode_stop(frame: Frame) -> Stop:
    """The stop in a frame. A stop whose payload cannot be read is a stop of all robots."""
    try:
        return decode_message(frame, Stop)
    except CodecError as error:
        return Stop(f"why cannot be read: {error}")


def encode_observation(observation: Observation, session: int) -> bytes:
    """One OBSERVATION frame."""
    try:
        head = OBSERVATION.pack(observation.reward, observation.faults)
    except OverflowError:
        # A reward beyond float32 becomes infinite, which the bridge refuses: no exception in a
        # driver's loop.
        head = OBSERVATION.pack(math.copysign(math.inf, observation.reward), observation.faults)
    return encode(
        Kind.OBSERVATION,
        head + observation.payload.astype(_NUMBERS, copy=False).tobytes(),
        session=session,
        sequence=observation.sequence,
        flags=int(observation.flags),
        time_ns=observation.time_ns,
    )


def decode_observation(frame: Frame) -> Observation:
    """Accepts any size and any float32, NaN too: the bridge judges them. Raises CodecError."""
    (reward, faults), payload = _parts(frame, Kind.OBSERVATION, OBSERVATION)
    if frame.flags & ~_ALL_FLAGS:
        raise CodecError(f"OBSERVATION: flags {frame.flags:#x}; at most {_ALL_FLAGS:#x}")
    flags = FLAGS[frame.flags]
    return Observation(frame.sequence, frame.time_ns, payload, reward, flags, faults)


def encode_command(
    command: Command, session: int, times_ns: tuple[int, int] | None = None
) -> bytes:
    """One COMMAND frame. times_ns: received and sent, instead of the command's own [ns]."""
    received_ns, sent_ns = times_ns or (command.received_ns, command.sent_ns)
    head = COMMAND.pack(
        command.validity_ns,
        received_ns,
        sent_ns,
        command.belief_version & 0xFFFFFFFF,
        command.mode,
        command.shadow,
    )
    payload = head + command.payload.astype(_NUMBERS, copy=False).tobytes()
    flags = _OVER if command.over else 0
    return encode(Kind.COMMAND, payload, session=session, sequence=command.sequence, flags=flags)


def decode_command(frame: Frame) -> Command:
    """Accepts any size and any float32: the client judges them. Raises CodecError."""
    head, payload = _parts(frame, Kind.COMMAND, COMMAND)
    validity, received, sent, version, number, shadow = head
    mode = _MODES.get(number)
    if mode is None:
        raise CodecError(f"COMMAND: mode {number}; expected 0 to {int(max(Mode))}")
    if validity < 0:
        raise CodecError(f"COMMAND: validity {validity} ns; expected none below 0")
    if shadow > 1:
        raise CodecError(f"COMMAND: shadow {shadow}; expected 0 or 1")
    if shadow and number == Mode.TRACK:
        raise CodecError("COMMAND: mode TRACK from a shadow; expected HOLD, DAMP or STOP")
    if frame.flags not in (0, _OVER):
        raise CodecError(f"COMMAND: flags {frame.flags:#x}; expected 0 or {_OVER:#x}")
    over = bool(frame.flags)
    return Command(
        frame.sequence, validity, mode, payload, version, received, sent, bool(shadow), over
    )


def _parts(frame: Frame, kind: Kind, layout: struct.Struct) -> tuple[tuple, Float32]:
    """The head of a frame's payload, and the numbers behind it."""
    if frame.kind is not kind:
        raise CodecError(f"{frame.kind.name}: expected {kind.name}")
    payload, start = frame.payload, layout.size
    rest = len(payload) - start
    if rest < 0:
        raise CodecError(f"{kind.name}: payload of {len(payload)} bytes; its head has {start}")
    if rest % 4:
        raise CodecError(f"{kind.name}: {rest} bytes of numbers; expected a multiple of 4")
    return layout.unpack_from(payload), np.frombuffer(payload, _NUMBERS, -1, start)
