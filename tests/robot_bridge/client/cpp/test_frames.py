"""The C++ codec reads the same from every frame as the Python one, and refuses the same frames."""

import struct
import zlib

import numpy as np

from robot_bridge.errors import CodecError
from robot_bridge.protocol import codec, handshake
from robot_bridge.protocol.messages import (
    BODIES,
    Command,
    Event,
    Heartbeat,
    Kind,
    Mode,
    Refused,
    Release,
    ResetRequest,
    Stop,
    Welcome,
)
from tests.support.client import cpp_client


def words(text):
    return text.encode().hex()


def read(data):
    """What the probe says of a frame, by the Python codec."""
    try:
        frame = codec.decode(data)
        head = f"{frame.kind.name} {frame.session} {frame.sequence} {frame.time_ns} "
        return head + body(frame)
    except CodecError:
        return "refused"


def body(frame):
    match frame.kind:
        case Kind.STOP:
            it = codec.decode_stop(frame)
            return f"{int(it.closing)} {it.number} {words(it.robot)}"
        case Kind.COMMAND:
            it = codec.decode_command(frame)
            numbers = (it.validity_ns, it.received_ns, it.sent_ns, it.belief_version, int(it.mode))
            return f"{' '.join(map(str, numbers))} {int(it.shadow)} {it.payload.tobytes().hex()}"
        case Kind.WELCOME | Kind.REFUSED | Kind.RESET | Kind.EVENT | Kind.RELEASE | Kind.HEARTBEAT:
            return of_struct(codec.decode_message(frame, BODIES[frame.kind]))
    return frame.payload.hex()


def of_struct(it):
    match it:
        case Welcome():
            texts = f"{words(it.digest)} {words(it.bundle)}"
            sizes = f"{len(it.observation)} {len(it.action)} {len(it.limits)}"
            return (
                f"{it.session} {int(it.shadow)} {texts} {sizes} {it.stop} "
                f"{len(it.latches)} {int(it.stopped)}"
            )
        case Refused():
            return "".join(f"{words(reason)} " for reason in it.reasons)
        case ResetRequest():
            return f"{it.task} {it.episode} {it.seed} {int(it.new_task)}"
        case Event():
            return f"{words(it.name)} {words(it.robot)} {words(it.text)} {it.number}"
        case Release():
            return f"{it.stop} {it.latch}"
        case Heartbeat():
            times = ["-" if t is None else str(t) for t in (it.clock_offset_ns, it.round_trip_ns)]
            return f"{it.stop} {it.latch} {int(it.stopped)} {' '.join(times)}"
    raise AssertionError(it)


def sealed(data):
    """The same bytes with a length and a checksum that fit."""
    data = data[:32] + struct.pack("<I", len(data) - 40) + data[36:]
    return data[:36] + struct.pack("<I", zlib.crc32(data[:36] + data[40:])) + data[40:]


def whole(bundle):
    """One good frame of each kind that a robot reads."""
    command = Command(7, 150_000_000, Mode.TRACK, np.arange(3, dtype=np.float32), 3, 5, -6)
    latches = {"arm": 3, "ärm": 2**62}
    return [
        codec.encode_message(handshake.welcome(bundle, 2**62, ["arm", "b"], stop=9)),
        codec.encode_message(handshake.welcome(bundle, 1, [], latches=latches, stopped=True)),
        codec.encode_message(Refused(("bundle digest: × ≠ y", ""))),
        codec.encode_command(command, 2**63),
        codec.encode_message(ResetRequest(0, 127, 2**32, True), session=5),
        codec.encode_message(Event("robot_stopped", "arm", "− " * 2000, 65_536)),
        codec.encode_message(Stop("button", True, 200, "arm")),
        codec.encode_message(Release("", 128, 2**40)),
        codec.encode_message(Heartbeat(3, 4, True, -(2**63), 2**63 - 1)),
        codec.encode_message(Heartbeat()),
        codec.encode(Kind.BYE),
    ]


# First bytes of MessagePack's types.
TAGS = list(bytes.fromhex("007f8090a0c0c2c3c4cacbcccfd0d3d9dcdfff"))


def mutated(rng, data):
    """Bytes that are nearly a frame; most have a checksum that fits."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        # Where a payload's structure is, more often than in the middle of its texts.
        at = min(int(rng.choice((rng.integers(4, 120), rng.integers(0, len(data))))), len(data) - 1)
        match rng.integers(4):
            case 0:
                data[at] = rng.integers(256)
            case 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                del data[at : at + int(rng.integers(1, 9))]
            case 3:
                data[at:at] = rng.choice(TAGS, int(rng.integers(1, 9))).astype("u1").tobytes()
    data = bytes(data)
    return sealed(data) if rng.random() < 0.95 and len(data) >= 40 else data


def test_both_read_the_same_in_every_good_frame(probe, bundle):
    frames = whole(bundle)
    found = cpp_client.ask(probe, [f"frame {data.hex()}" for data in frames])
    assert found == [read(data) for data in frames]
    assert "refused" not in found


def test_both_refuse_the_same_bad_frames(probe, bundle):
    rng = np.random.default_rng(1)
    frames = [mutated(rng, data) for _ in range(400) for data in whole(bundle)]
    frames += [rng.bytes(size) for size in range(80)]
    frames += [data[:size] for data in whole(bundle) for size in (0, 39, 40, 41, len(data) - 1)]
    # Longer than a control frame may be, and text that claims more than there is.
    frames += [
        sealed(whole(bundle)[4] + bytes(70_000)),
        sealed(whole(bundle)[6][:40] + b"\xdb" * 9),
    ]
    found = cpp_client.ask(probe, [f"frame {data.hex()}" for data in frames])
    accepted = 0
    for data, answer in zip(frames, found, strict=True):
        expected = read(data)
        accepted += expected != "refused"
        assert answer == expected or (answer.startswith("refused ") and expected == "refused"), data
    assert 100 < accepted < len(frames) - 1000
