"""Frames survive a round trip, and anything else is a CodecError."""

import struct
import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_bridge.errors import CodecError, VersionError
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    BODIES,
    Begin,
    Command,
    FieldSpec,
    Flag,
    Hello,
    Kind,
    Mode,
    Observation,
    Outcome,
    Ready,
    Refused,
)

FLOATS = st.lists(st.floats(width=32, allow_nan=True), max_size=40)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
SAMPLE = codec.encode_message(
    Hello("robot", "arm", "", (FieldSpec("tip", (3,), "m"),), (FieldSpec("x", (1,), "m"),), 0.05),
    session=7,
)


def open_anyhow(data: bytes) -> None:
    """Read a frame as every kind that it could be."""
    frame = codec.decode(data)
    if frame.kind is Kind.OBSERVATION:
        codec.decode_observation(frame)
    elif frame.kind is Kind.COMMAND:
        codec.decode_command(frame)
    elif frame.kind in BODIES:
        codec.decode_message(frame, BODIES[frame.kind])


@given(U64, I64, U64, FLOATS, st.floats(width=32), st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_observation_round_trip(sequence, time_ns, session, numbers, reward, flags, faults):
    payload = np.array(numbers, np.float32)
    sent = Observation(sequence, time_ns, payload, reward, Flag(flags), faults)
    frame = codec.decode(codec.encode_observation(sent, session))
    got = codec.decode_observation(frame)
    assert (got.sequence, got.time_ns, got.flags, got.faults) == (sequence, time_ns, flags, faults)
    assert frame.session == session
    np.testing.assert_array_equal(got.payload, payload)
    np.testing.assert_array_equal(got.reward, reward)


@given(
    U64,
    st.integers(0, 2**63 - 1),
    st.sampled_from(Mode),
    FLOATS,
    st.integers(0, 2**32 - 1),
    I64,
    I64,
)
def test_command_round_trip(sequence, validity, mode, numbers, version, received, sent_ns):
    payload = np.array(numbers, np.float32)
    shadow = mode is not Mode.TRACK
    sent = Command(sequence, validity, mode, payload, version, received, sent_ns, shadow)
    got = codec.decode_command(codec.decode(codec.encode_command(sent, 1)))
    assert (got.sequence, got.validity_ns, got.mode) == (sequence, validity, mode)
    assert (got.belief_version, got.shadow) == (version, shadow)
    assert (got.received_ns, got.sent_ns) == (received, sent_ns)
    np.testing.assert_array_equal(got.payload, payload)


def test_the_layout_is_the_documented_one():
    data = codec.encode_observation(
        Observation(3, -5, np.array([1.5, -2.0], np.float32), 0.25, Flag.FIRST, 9), 0x0102
    )
    head = b"ACLM\x01\x04\x01\x00" + struct.pack("<QQqI", 0x0102, 3, -5, 16)
    payload = struct.pack("<fIff", 0.25, 9, 1.5, -2.0)
    assert data == head + struct.pack("<I", zlib.crc32(head + payload)) + payload


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data):
    with pytest.raises(CodecError):
        open_anyhow(data)


@settings(max_examples=200)
@given(st.sampled_from(Kind), st.binary(max_size=200), st.integers(0, 2**16 - 1))
def test_a_right_frame_around_random_bytes_opens_or_is_refused(kind, payload, flags):
    try:
        open_anyhow(codec.encode(kind, payload, flags=flags))
    except CodecError as error:
        assert str(error)


JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(st.sampled_from(sorted(BODIES)), st.dictionaries(st.text(max_size=8), JSONISH))
def test_structs_of_another_make_are_refused_or_valid(kind, content):
    try:
        open_anyhow(codec.encode(kind, msgspec.msgpack.encode(content)))
    except CodecError as error:
        assert kind.name in str(error)


@given(st.integers(0, len(SAMPLE) - 1))
def test_every_truncation_is_refused(length):
    with pytest.raises(CodecError):
        codec.decode(SAMPLE[:length])


@given(st.integers(0, len(SAMPLE) * 8 - 1))
def test_every_flipped_bit_is_refused(bit):
    data = bytearray(SAMPLE)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CodecError):
        codec.decode(bytes(data))


def test_another_version_is_named():
    data = codec.encode_message(Ready())
    with pytest.raises(VersionError, match="protocol version 9; expected 1") as caught:
        codec.decode(data[:4] + b"\x09" + data[5:])
    assert caught.value.version == 9


@pytest.mark.parametrize("version", [0, 1, 2, 255])
def test_every_version_reads_a_hello_and_a_refusal(version):
    # As a later version may write them, with fields that are unknown here.
    field = {"name": "tip", "shape": [3], "unit": "m", "frame": "base"}
    hello = {"role": "robot", "name": "arm", "observation": [field], "mood": "good"}
    frame = codec.decode(codec.encode(Kind.HELLO, msgspec.msgpack.encode(hello), version=version))
    assert frame.version == version
    assert codec.decode_message(frame, Hello).observation == (FieldSpec("tip", (3,), "m"),)
    refused = {"reasons": ["no"], "advice": "none"}
    frame = codec.decode(
        codec.encode(Kind.REFUSED, msgspec.msgpack.encode(refused), version=version)
    )
    assert codec.decode_message(frame, Refused).reasons == ("no",)


def test_sizes_are_bounded_both_ways():
    with pytest.raises(CodecError, match="at most 65536"):
        codec.encode(Kind.HELLO, bytes(codec.CONTROL_BYTES + 1))
    with pytest.raises(CodecError, match="at most 0"):
        codec.encode(Kind.BYE, b"x")
    head = struct.pack("<4sBBHQQqI", b"ACLM", 2, Kind.HELLO, 0, 0, 0, 0, 2**32 - 1)
    with pytest.raises(CodecError, match="payload length 4294967295"):
        codec.decode(head + bytes(4))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_structs_refuse_numbers_that_are_none(value):
    frame = codec.decode(codec.encode_message(Outcome(True, 1, value, "")))
    with pytest.raises(CodecError, match=r"EPISODE_END.*duration"):
        codec.decode_message(frame, Outcome)
    frame = codec.decode(codec.encode_message(Ready({"x": value})))
    with pytest.raises(CodecError, match="READY"):
        codec.decode_message(frame, Ready)


def test_an_unknown_key_and_a_wrong_type_are_named():
    body = msgspec.to_builtins(Begin("a", 0, 0, 0, True))
    frame = codec.decode(codec.encode(Kind.BEGIN, msgspec.msgpack.encode(body | {"sped": 1})))
    with pytest.raises(CodecError, match="sped"):
        codec.decode_message(frame, Begin)
    frame = codec.decode(codec.encode(Kind.BEGIN, msgspec.msgpack.encode(body | {"task": "x"})))
    with pytest.raises(CodecError, match="task"):
        codec.decode_message(frame, Begin)


def test_a_command_of_no_mode_is_refused():
    for head, word in (
        (codec.COMMAND.pack(1, 0, 0, 0, 4, 0), "mode"),
        (codec.COMMAND.pack(-1, 0, 0, 0, 0, 0), "validity"),
        (codec.COMMAND.pack(1, 0, 0, 0, 1, 2), "shadow 2"),
        (codec.COMMAND.pack(1, 0, 0, 0, 0, 1), "TRACK from a shadow"),
    ):
        frame = codec.decode(codec.encode(Kind.COMMAND, head))
        with pytest.raises(CodecError, match=word):
            codec.decode_command(frame)


def test_text_that_no_frame_can_carry_is_named():
    with pytest.raises(CodecError, match=r"EPISODE_END: .*plug-\\udcff"):
        codec.encode_message(Outcome(True, 1, 0.1, "plug-\udcff"))
