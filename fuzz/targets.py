"""Rules that hold for every input: the fuzzers call them, and so do the tests of their corpus.

Both targets raise AssertionError, or an exception that the code must never raise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from adapt.bundle.policy_bundle import PolicyBundle
from fuzz import frames
from robot_bridge.errors import CodecError
from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import PERIOD_TOLERANCE
from robot_bridge.protocol.messages import (
    BODIES,
    FLAGS,
    PROTOCOL,
    Hello,
    Kind,
    Mode,
    Refused,
    Welcome,
)
from robot_bridge.protocol.operator_messages import OPERATOR_BODIES
from robot_bridge.server.dispatcher import Dispatcher

_BODIES = BODIES | OPERATOR_BODIES
STRANGER = b"stranger"
# Bounds on what a peer sends: characters of a text, and the size of a whole number.
LONGEST, FURTHEST = 4096, 2**63
# Only the bridge sends these; they hold its bundle's texts.
_LARGE = (Kind.WELCOME, Kind.EPISODE_RECORD, Kind.STATUS)


def decoder(data: bytes) -> int:
    """Decode every piece as a frame of its own; returns how many were accepted."""
    accepted = 0
    for how, content in frames.pieces(data):
        accepted += _decoded(frames.frame(how, content))
    return accepted


def _decoded(data: bytes) -> bool:
    try:
        frame = codec.decode(data)
    except CodecError:
        return False
    kind = frame.kind
    assert len(data) <= codec.HEADER.size + codec._MOST[kind]
    lasting = kind in (Kind.HELLO, Kind.REFUSED)
    assert lasting or frame.version == PROTOCOL
    again = codec.encode(
        kind,
        frame.payload,
        session=frame.session,
        sequence=frame.sequence,
        flags=frame.flags,
        time_ns=frame.time_ns,
        version=frame.version,
    )
    assert again == data, "a frame that is accepted has one form"
    try:
        if kind is Kind.OBSERVATION:
            return _observation(frame, data)
        if kind is Kind.COMMAND:
            return _command(frame, data)
        if kind is Kind.STOP:
            # A stop is one with any payload.
            assert sane(codec.decode_stop(frame))
        if kind is Kind.BYE or (kind is Kind.STATUS and not frame.payload):
            assert not frame.payload
            return True
        return _message(frame)
    except CodecError:
        return False


def _observation(frame: codec.Frame, data: bytes) -> bool:
    seen = codec.decode_observation(frame)
    assert seen.flags in FLAGS and seen.payload.dtype == np.float32
    again = codec.encode_observation(seen, frame.session)
    # A quiet NaN keeps its bits in an array; as a single number it may not.
    assert again == data or math.isnan(seen.reward)
    return True


def _command(frame: codec.Frame, data: bytes) -> bool:
    command = codec.decode_command(frame)
    assert command.mode in Mode and command.validity_ns >= 0
    assert not (command.shadow and command.mode is Mode.TRACK)
    again = codec.decode(codec.encode_command(command, frame.session))
    # Two bytes of a command's head are not used.
    head = codec.COMMAND.size
    assert again.payload[: head - 2] == frame.payload[: head - 2]
    assert again.payload[head:] == frame.payload[head:]
    assert (again.session, again.sequence) == (frame.session, frame.sequence)
    return True


def _message(frame: codec.Frame) -> bool:
    body = _BODIES[frame.kind]
    message = codec.decode_message(frame, body)
    assert isinstance(message, body)
    assert sane(message, None if frame.kind in _LARGE else LONGEST)
    again = codec.decode(codec.encode_message(message, session=frame.session))
    back = codec.decode_message(again, body)
    assert back == message
    return True


def sane(value: Any, longest: int | None = LONGEST) -> bool:
    """Whether every value in a message is bounded. longest: text in characters; None: no bound."""
    for part in _parts(value):
        if isinstance(part, float) and not math.isfinite(part):
            return False
        if isinstance(part, int) and abs(part) > FURTHEST:
            return False
        if isinstance(part, str) and longest is not None and len(part) > longest:
            return False
    return True


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _parts(getattr(value, name))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _parts(part)
    else:
        yield value


class Handshake:
    """Unknown peers of a bridge without a socket. Each input meets a new bridge."""

    def __init__(self, bundle: PolicyBundle) -> None:
        self._bundle = bundle

    def __call__(self, data: bytes) -> int:
        """Send every piece as the next frame of one peer; returns how many sessions it got."""
        return _Meeting(self._bundle).run(data)


class _Meeting:
    def __init__(self, bundle: PolicyBundle) -> None:
        self._manifest = bundle.manifest
        self._sent: list[codec.Frame] = []
        self._told: list[str] = []
        self._session = 0
        self._hello: Hello | None = None
        self._observed: codec.Frame | None = None
        self._peers = Dispatcher(bundle, self._send, 0, 150_000_000, self._note)
        admission = self._peers._admission
        make = admission._make
        # The belief is updated within the answer: a thread for every input would cost too much.
        admission._make = lambda hello: make(msgspec.structs.replace(hello, simulated_time=True))

    def run(self, data: bytes) -> int:
        welcomes = 0
        try:
            for how, content in itertools.islice(frames.pieces(data), frames.MOST):
                welcomes += self._say(frames.frame(how, content, self._session))
            self._peers.tend()
            self._check_sent()
        finally:
            self._peers.dismiss("over")
        assert "answer_failed" not in self._told and "bridge_fault" not in self._told
        return welcomes

    def _say(self, data: bytes) -> int:
        goodbye = False
        self._observed = None
        try:
            frame = codec.decode(data)
            if frame.kind is Kind.HELLO:
                self._hello = codec.decode_message(frame, Hello)
            goodbye = frame.kind is Kind.BYE and frame.session == self._session
            self._observed = frame if frame.kind is Kind.OBSERVATION else None
        except CodecError:
            # The bridge must refuse it, too: it must not lead to a frame that moves a robot.
            self._hello = None
        try:
            self._peers.take(STRANGER, data)
        except CodecError as error:
            self._peers.garbled(STRANGER, error)
            assert not any(sent.kind is Kind.COMMAND for sent in self._sent)
        welcomes = self._check_sent()
        if goodbye:
            self._session = 0
        return welcomes

    def _check_sent(self) -> int:
        """Check that each frame the bridge sent can be read, and is allowed at this point."""
        welcomes = 0
        sent, self._sent = self._sent, []
        for frame in sent:
            if frame.kind is Kind.WELCOME:
                welcomes += 1
                self._welcomed(codec.decode_message(frame, Welcome))
            elif frame.kind is Kind.COMMAND:
                self._commanded(codec.decode_command(frame))
            elif frame.kind is Kind.REFUSED:
                assert codec.decode_message(frame, Refused).reasons
            else:
                assert self._session, f"{frame.kind.name} to a peer without a session"
                codec.decode_message(frame, _BODIES[frame.kind])
        return welcomes

    def _welcomed(self, welcome: Welcome) -> None:
        hello, manifest = self._hello, self._manifest
        assert hello is not None and not self._session
        if hello.role == "robot":
            sizes = [math.prod(field.shape) for field in hello.observation]
            assert sum(sizes) == manifest.observation_size
            assert [field.name for field in hello.action] == [f.name for f in manifest.action]
            assert abs(hello.control_period - manifest.control_period) <= PERIOD_TOLERANCE
        self._session = welcome.session

    def _commanded(self, command: Any) -> None:
        assert self._session and self._observed is not None
        assert command.sequence == self._observed.sequence
        assert np.isfinite(command.payload).all()
        assert command.payload.size == self._manifest.action_size
        if command.mode is Mode.TRACK:
            seen = codec.decode_observation(self._observed)
            assert seen.payload.size == self._manifest.observation_size
            assert np.isfinite(seen.payload).all() and np.isfinite(seen.reward)
            assert not seen.faults
        else:
            assert not command.payload.any()

    def _send(self, address: bytes, data: bytes) -> bool:
        assert address == STRANGER and len(data) <= codec.HEADER.size + codec.RECORD_BYTES
        self._sent.append(codec.decode(data))
        return True

    def _note(self, event: str, text: str = "", **fields: object) -> None:
        self._told.append(event)
