"""docs/protocol.md against the code: the page alone must be enough to write a client from."""

import ast
import re
import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from adapt.bundle import fields as bundle_fields
from adapt.prior import MeasuredPrior, MeasuredQuantity
from robot_bridge.protocol import codec, messages, operator_messages, probe_messages, timing
from robot_bridge.protocol.handshake import ACTION_MOST, OBSERVATION_MOST, PERIOD_TOLERANCE
from robot_bridge.protocol.messages import (
    FieldSpec,
    Flag,
    Heartbeat,
    Hello,
    Kind,
    Mode,
    Release,
    Stop,
)
from robot_bridge.safety.state_machine import Staleness
from robot_bridge.session import episode_lifecycle as course
from robot_bridge.transport import connection_limiter as limiter
from robot_bridge.transport import curve_keys as keys
from robot_bridge.transport import server_socket as router
from robot_bridge.transport import zap_authenticator

BODIES = messages.BODIES | operator_messages.OPERATOR_BODIES
ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
TYPES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i64": "q", "f32": "f"}


def example(name):
    """The bytes of one hex block of the page."""
    return bytes.fromhex(PAGE.split(f"```hex {name}\n")[1].split("```")[0])


def rows(after, width):
    """The body of the first table of so many columns after a text, as stripped cells."""
    tables = re.findall(r"(?:^\|.*\n)+", PAGE[PAGE.index(after) :], flags=re.MULTILINE)
    for text in tables:
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
        if len(cells[0]) == width:
            return cells[2:]
    raise AssertionError(f"no table of {width} columns after {after!r}")


def by_page(data):
    """A header, read by nothing but the page's table."""
    found = {}
    for offset, size, kind, field, _ in rows("## Frame", 5)[:-1]:
        raw = data[int(offset) : int(offset) + int(size)]
        found[field] = raw if kind == "bytes" else struct.unpack(f"<{TYPES[kind]}", raw)[0]
    return found


def test_the_observation_of_the_page_is_what_it_says():
    observation = codec.decode_observation(codec.decode(example("OBSERVATION")))
    assert (observation.sequence, observation.time_ns) == (7, 1_500_000_000)
    assert (observation.flags, observation.reward, observation.faults) == (Flag.FIRST, 0.25, 0)
    assert observation.payload.tolist() == [0.5, -1.0, 2.0]
    assert codec.encode_observation(observation, 0x1122334455667788) == example("OBSERVATION")


def test_the_command_of_the_page_is_what_it_says():
    frame = codec.decode(example("COMMAND"))
    command = codec.decode_command(frame)
    assert (frame.session, frame.time_ns) == (0x1122334455667788, 2_000_000_000)
    assert (command.sequence, command.validity_ns) == (7, 150_000_000)
    assert (command.belief_version, command.mode) == (3, Mode.TRACK)
    assert (command.received_ns, command.sent_ns) == (1_999_900_000, 2_000_000_000)
    assert not command.shadow
    np.testing.assert_array_equal(command.payload, np.array([0.001, -0.5], np.float32))


def test_the_stop_of_the_page_is_what_it_says():
    frame = codec.decode(codec.encode(Kind.STOP, example("STOP")))
    assert codec.decode_message(frame, Stop) == Stop("button", False, 1, "")


def test_the_other_payloads_of_the_page_are_what_it_says():
    one, other = ((FieldSpec(name, (2,), "rad"),) for name in ("q", "dq"))
    hello = Hello("robot", "arm", "", one, other, 0.05)
    assert codec.decode_message(codec.decode(example("HELLO")), Hello) == hello
    payload = msgspec.msgpack.encode(hello)
    assert codec.encode(Kind.HELLO, payload, time_ns=1_000_000_000) == example("HELLO")
    heartbeat = Heartbeat(4, 1, True, -250, 134_300)
    assert msgspec.msgpack.encode(heartbeat) == example("HEARTBEAT")
    assert msgspec.msgpack.encode(Release("arm", 4, 1)) == example("RELEASE")


@pytest.mark.parametrize("name", ["OBSERVATION", "COMMAND", "HELLO"])
def test_the_header_table_reads_a_frame(name):
    data = example(name)
    found = by_page(data)
    frame = codec.decode(data)
    assert (found["magic"], found["version"]) == (codec.MAGIC, messages.PROTOCOL)
    assert (found["kind"], found["flags"]) == (frame.kind, frame.flags)
    assert (found["session"], found["sequence"]) == (frame.session, frame.sequence)
    assert (found["time"], found["length"]) == (frame.time_ns, len(frame.payload))
    assert found["checksum"] == zlib.crc32(data[:36] + data[40:])
    assert int(rows("## Frame", 5)[-1][0]) == codec.HEADER.size
    assert zlib.crc32(b"123456789") == 0xCBF43926


def test_the_table_of_kinds_is_whole():
    table = rows("| kind | name |", 4)
    assert [(int(number), name) for number, name, *_ in table] == [
        (kind.value, kind.name) for kind in Kind
    ]
    for _, name, _, payload in table:
        body = BODIES.get(Kind[name])
        assert payload == body.__name__ if body else payload in ("binary, below", "empty")


def test_the_binary_heads_are_where_the_tables_say():
    for title, layout, count in (
        ("OBSERVATION", codec.OBSERVATION, 2),
        ("COMMAND", codec.COMMAND, 7),
    ):
        offset = 0
        for at, kind, *_ in rows(f"### {title}", 4):
            assert int(at) == offset
            offset += 2 if kind == "2 bytes" else struct.calcsize(f"<{TYPES[kind.split()[0]]}")
        assert offset - 4 == layout.size
        assert len(rows(f"### {title}", 4)) == count + 1


def test_every_struct_is_listed_with_its_fields():
    listed = dict(rows("## Messages", 2))
    structs = {body.__name__: body for body in BODIES.values()}
    structs |= {kind.__name__: kind for kind in (messages.FieldSpec, operator_messages.BeliefPoint)}
    parts = (
        operator_messages.ModelStatus,
        operator_messages.RobotStatus,
        operator_messages.KeptBelief,
        operator_messages.StageStatus,
    )
    structs |= {kind.__name__: kind for kind in parts}
    nested = (
        bundle_fields.Field,
        bundle_fields.ActionField,
        bundle_fields.Latent,
        bundle_fields.Factor,
        bundle_fields.Limit,
        MeasuredPrior,
        MeasuredQuantity,
        probe_messages.ProbeTarget,
        probe_messages.Post,
        probe_messages.ProbeReport,
        probe_messages.Touch,
        probe_messages.Level,
    )
    structs |= {kind.__name__: kind for kind in nested}
    assert set(listed) == set(structs)
    for name, kind in structs.items():
        # Explanations in brackets do not name fields.
        plain = re.sub(r"\([^()]*\)", "", listed[name])
        fields = [part.split("=")[0].strip() for part in plain.split(",")]
        assert fields == [field.name for field in msgspec.structs.fields(kind)], name
        optional = [part.split("=")[0].strip() for part in plain.split(",") if "=" in part]
        given = [field.name for field in msgspec.structs.fields(kind) if not field.required]
        assert optional == given, name


def test_the_bounds_are_those_of_the_code():
    bounds = dict(rows("| bound |", 2))
    numbers = {key: re.findall(r"[\d.]+", value) for key, value in bounds.items()}
    assert numbers["frame that a bridge takes"] == [
        str(codec.FRAME_BYTES),
        str(codec.CONTROL_BYTES),
    ]
    assert numbers["payload of any other kind"] == [str(codec.CONTROL_BYTES)]
    assert numbers["payload of EPISODE_RECORD and STATUS"] == [str(codec.RECORD_BYTES)]
    most = numbers["numbers of an observation and of an action"]
    assert most == [str(OBSERVATION_MOST), str(ACTION_MOST)]
    assert float(numbers["HEARTBEAT from the bridge"][0]) == timing.HEARTBEAT
    assert float(numbers["HEARTBEAT from a robot"][0]) == timing.HEARTBEAT
    assert float(numbers["client gives the bridge up"][0]) == timing.BRIDGE_LOST
    assert float(numbers["bridge calls a robot silent"][0]) == timing.ROBOT_SILENT
    assert float(numbers["bridge disconnects a robot"][0]) == timing.ROBOT_LOST
    probing = [timing.UNACKNOWLEDGED_MS, timing.PROBES, timing.PROBE, timing.IDLE]
    assert numbers["bridge disconnects any peer over tcp"] == list(map(str, probing))
    assert PERIOD_TOLERANCE == 1e-9
    stale = Staleness()
    words = f"From {stale.hold} the client holds, from {stale.damp} it damps, from {stale.stop} it"
    assert words in " ".join(PAGE.split())


def literals(call):
    """Texts in all of the bridge's code that are the first thing a call is given."""
    found = set()
    for path in sorted((ROOT / "robot_bridge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and call(ast.unparse(node.func)):
                # Also within a tuple, and both branches of a condition.
                names = node.args[:1]
                found |= {part.value for each in names for part in first_texts(each)}
    return {text for text in found if re.fullmatch("[a-z]+(_[a-z]+)+", text)}


def first_texts(node):
    match node:
        case ast.Constant(value=str()):
            yield node
        case ast.Tuple(elts=[first, *_]):
            yield from first_texts(first)
        case ast.IfExp():
            yield from first_texts(node.body)
            yield from first_texts(node.orelse)


TELLING = ("tell", "_tell", "say", "last", "put", "Event", "_say", "_cut", "_trouble", "note")


def test_the_events_of_the_page_are_those_of_the_code():
    listed = {name for row in rows("**Events** go", 2) for name in re.findall(r"\w+_\w+", row[1])}
    told = literals(lambda name: name.split(".")[-1] in TELLING)
    told |= {messages.STOPPED, messages.RELEASED, messages.STOP_GIVEN, messages.RELEASE_REFUSED}
    assert told - listed == set()
    source = "".join(path.read_text() for path in (ROOT / "robot_bridge").rglob("*.py"))
    assert [name for name in sorted(listed) if f'"{name}"' not in source] == []


def test_the_diagram_is_that_of_the_safety_page():
    """Which is checked against the machine itself."""
    safety = (ROOT / "docs/safety.md").read_text(encoding="utf-8")
    arrow = re.compile(r"^    (\w+) --> (\w+):", flags=re.MULTILINE)
    assert sorted(arrow.findall(PAGE)) == sorted(arrow.findall(safety))


def test_strangers_and_garbage_are_bounded_as_the_page_says():
    assert f"more than {router.GARBAGE} of these at once, and {router.GARBAGE_RATE:g} a" in PAGE
    assert f"the key out for {zap_authenticator.BAN:g} s" in PAGE
    assert f"takes at most {limiter.HANDSHAKE_MS / 1000:g} s." in PAGE
    assert f"domain `{zap_authenticator.DOMAIN.decode()}`" in PAGE
    assert f"follows within {course.BEGINNING:g} s is off" in PAGE
    assert f"without an observation for\n  {course.STALLED:g} s makes way" in PAGE
    words = [field.name for field in msgspec.structs.fields(keys.Certificate)]
    assert re.findall(r"`(\w+)`", PAGE.split("the words are\n")[1].split(", keys in")[0]) == words
