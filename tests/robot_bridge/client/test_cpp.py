"""The C++ client's parts against the Python ones: the same answer to everything, or neither."""

import struct
import zlib
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import CodecError, LimitError
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
from robot_bridge.safety import state_machine as safety
from robot_bridge.safety.limits import Limits
from robot_bridge.safety.spacing import SpacingMonitor, SpacingSettings
from robot_bridge.system.clock import OffsetEstimator
from tests.support import tiny_bundle
from tests.support.client import cpp_client, safety_model

PERIOD = safety_model.PERIOD
RULES = safety_model.RULES


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    return cpp_client.build("check/probe.cpp", tmp_path_factory.mktemp("cpp"), sanitized=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return PolicyBundle.load(tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny"))


# The state machine ----------------------------------------------------------------------------


def line(event):
    """An event as the probe reads it."""
    parts = [value if isinstance(value, str) else str(int(value)) for value in vars(event).values()]
    return " ".join([type(event).__name__.lower(), *parts])


def shown(state):
    asked = "-" if state.asked_ns is None else state.asked_ns
    return (
        f"{int(state.mode)} {int(state.active)} {asked} {state.valid_until_ns} {state.stop} "
        f"{state.latch} {state.reason}"
    )


def test_the_state_machines_agree_in_every_state_that_can_be_reached(probe):
    lines = ["rules {} {} {} {}".format(PERIOD, *vars(RULES.staleness).values())]
    expected = [shown(safety.State())]
    for world, move in safety_model.explore():
        if move.event is None:
            continue
        state, event = lifted(world.state), lifted(move.event)
        lines += [f"state {shown(state)}", line(event)]
        expected += [shown(state), shown(safety.step(state, event, RULES))]
    assert len(lines) > 20_000
    compare(lines, cpp_client.ask(probe, lines), expected)


def lifted(thing):
    """The model counts from what its operator knows, and so below 0, which nothing on a wire is."""
    numbers = {"stop", "latch", "number"} & vars(thing).keys()
    return replace(thing, **{name: getattr(thing, name) + 10 for name in numbers})


def compare(lines, found, expected):
    for k, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one == other, lines[max(0, k - 3) : k + 1]


def test_the_state_machines_agree_over_long_walks(probe):
    rng = np.random.default_rng(0)
    lines, expected = [], []
    for _ in range(200):
        period = int(rng.integers(1, 10**8))
        stale = safety.Staleness(*(int(k) for k in np.sort(rng.integers(1, 9, 3))))
        rules, state = safety.Rules(period, stale), safety.State()
        lines.append("rules {} {} {} {}".format(period, *vars(stale).values()))
        expected.append(shown(state))
        # From somewhere late in a machine's life, forwards and sometimes backwards.
        now = int(rng.integers(0, 2**52))
        for _ in range(100):
            now = max(0, now + int(rng.integers(-period, 3 * period)))
            event = draw(rng, now, period, state)
            state = safety.step(state, event, rules)
            lines.append(line(event))
            expected.append(shown(state))
    compare(lines, cpp_client.ask(probe, lines), expected)


def draw(rng, now, period, state):
    mode = Mode(int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1))))
    one, other = (int(k) for k in rng.integers(0, 4, 2))
    events = {
        safety.Asked(now): 5,
        safety.Answered(now, mode, int(rng.integers(0, 5 * period))): 5,
        safety.Tick(now): 3,
        safety.Start(): 2,
        safety.Finish(): 1,
        safety.Reset(): 1,
        safety.Violation(mode, "force is 7"): 1,
        safety.Halt("the driver says so"): 0.3,
        safety.Stopped(state.stop + one - 1 if state.stop else one, "button"): 0.3,
        safety.Connected(one, other, one == 3): 0.2,
        safety.Release(max(0, state.stop + one - 1), max(0, state.latch + other - 1)): 2,
    }
    chances = np.array(list(events.values()))
    return list(events)[rng.choice(len(chances), p=chances / chances.sum())]


def test_a_validity_without_end_does_not_wrap_into_the_past(probe):
    lines = ["rules 1000 2 5 10", "start", "asked 5", f"answered 6 0 {2**63 - 1}", f"tick {2**62}"]
    assert cpp_client.ask(probe, lines)[-1].split()[0] == "0"


# Frames ---------------------------------------------------------------------------------------


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


# First bytes of what MessagePack knows.
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
                tags = (
                    b"\x00\x7f\x80\x90\xa0\xc0\xc2\xc3\xc4\xca\xcb\xcc\xcf\xd0\xd3\xd9\xdc\xdf\xff"
                )
                data[at:at] = rng.choice(list(tags), int(rng.integers(1, 9))).astype("u1").tobytes()
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


# Limits and clocks ----------------------------------------------------------------------------

LIMITS = (
    Limit("rate", "translation", -0.013, 0.017, "m/s", "jerk"),
    Limit("position", "yaw", -0.01, 0.015, "rad", "the cable"),
    Limit("workspace", "tip_position", -0.5, 0.3, "m", "the table ends", [0, 2]),
    Limit("force", "wrench", -0.7, 0.7, "N", "the pins bend"),
    Limit("rate", "wrench", -10.0, 9.0, "N/s", "an impact", [1]),
)


def welcomed(bundle, *limits, offset=0.0):
    """A welcome's bytes with these limits and its first action field moved, and what Python makes
    of them."""
    manifest = bundle.manifest
    first, *rest = manifest.action
    low, high = first.low + offset, first.high + offset
    moved = msgspec.structs.replace(
        first, offset=offset, low=low, high=high, description="as any text", elements=("x", "y")
    )
    served = handshake.welcome(bundle, 1, [])
    served = msgspec.structs.replace(served, limits=limits, action=(moved, *rest))

    def make():
        return Limits(manifest.observation, [moved, *rest], limits, manifest.control_period)

    return f"welcome {codec.encode_message(served).hex()}", make


def rows(rng, size, count):
    """Rows of numbers at, near and beyond margins, float32, with steps from one to the next."""
    scales = rng.choice((1e-4, 1e-3, 1e-2, 0.5, 2.0, 20.0), (count, 1))
    table = (rng.normal(0.0, 1.0, (count, size)) * scales).astype(np.float32)
    margins = (0.0, 0.00065, 0.00085, 0.001, 0.01, 0.015, 0.3, -0.5, 0.7, 10.0, -10.0)
    # Beyond them by more than rounding, and by less.
    margins += (0.0010005, 0.0010000005, 0.0150001, 0.01500001)
    edges = np.array(margins, np.float32)
    where = rng.random((count, size)) < 0.2
    table[where] = rng.choice(edges, int(where.sum()))
    odd = rng.random(count) < 0.05
    table[odd, 0] = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), int(odd.sum()))
    return table


@pytest.mark.parametrize("offset", [0.0, 0.00025, -0.0003])
def test_limits_clamp_to_the_same_numbers(probe, bundle, offset):
    words, make = welcomed(bundle, *LIMITS, offset=offset)
    limits, before = make(), None
    lines, expected = [words], ["6 3"]
    for command in rows(np.random.default_rng(2), 3, 2000):
        other = "-" if before is None else before.tobytes().hex()
        lines.append(f"clamp {command.tobytes().hex()} {other}")
        try:
            before, names = limits.clamp(command, before)
            expected.append(" ".join([(before + np.float32(0.0)).tobytes().hex(), *names]))
        except LimitError as error:
            before = None
            expected.append(f"refused {error}")
    compare(lines, cpp_client.ask(probe, lines), expected)


def test_limits_judge_measurements_in_the_same_words(probe, bundle):
    words, make = welcomed(bundle, *LIMITS)
    limits, before = make(), None
    lines, expected = [words], ["6 3"]
    for seen in rows(np.random.default_rng(3), 6, 2000):
        other = "-" if before is None else before.tobytes().hex()
        lines.append(f"judge {seen.tobytes().hex()} {other}")
        invalid = limits.invalid(seen)
        broken = None if invalid else limits.broken(seen, before)
        plain = f"{broken[0].name} {broken[1]}" if broken else "fine"
        expected.append(f"invalid {invalid}" if invalid else plain)
        before = None if invalid else seen
    assert {answer.split()[0] for answer in expected[1:]} == {"invalid", "HOLD", "DAMP", "fine"}
    compare(lines, cpp_client.ask(probe, lines), expected)


@pytest.mark.parametrize(
    "limit",
    [
        Limit("force", "elbow", -1.0, 1.0, "N", ""),
        Limit("force", "wrench", -1.0, 1.0, "N", "", [3]),
        Limit("rate", "wrench", 1.0, 2.0, "N/s", ""),
        Limit("rate", "translation", -2.0, -1.0, "m/s", ""),
        Limit("position", "yaw", 1.0, 2.0, "rad", ""),
    ],
)
def test_limits_that_nobody_could_keep_are_refused_by_both(probe, bundle, limit):
    words, make = welcomed(bundle, limit)
    with pytest.raises(LimitError):
        make()
    assert cpp_client.ask(probe, [words])[0].startswith("refused ")


def test_a_rated_field_whose_range_does_not_hold_zero_is_refused_by_both(probe, bundle):
    rate = Limit("rate", "yaw", -1.0, 1.0, "rad/s", "")
    words, make = welcomed(bundle, rate, Limit("position", "yaw", 0.001, 0.02, "rad", ""))
    with pytest.raises(LimitError, match="does not hold that"):
        make()
    assert "does not hold that" in cpp_client.ask(probe, [words])[0]


def test_a_scale_that_float32_does_not_hold_is_refused_by_both(probe, bundle):
    words = [handshake.welcome(bundle, 1, []), bundle.manifest]
    for k, one in enumerate(words):
        large = msgspec.structs.replace(one.action[0], low=-1e300, high=1e300, scale=1e300)
        words[k] = msgspec.structs.replace(one, action=[large, *one.action[1:]])
    served, manifest = words
    with pytest.raises(LimitError, match="'translation' without a bound"):
        Limits(manifest.observation, manifest.action, [], manifest.control_period)
    (answer,) = cpp_client.ask(probe, [f"welcome {codec.encode_message(served).hex()}"])
    assert "'translation' without a bound: scale inf, range -inf to inf" in answer


def test_clock_offsets_agree(probe):
    rng = np.random.default_rng(4)
    estimator, lines, expected = OffsetEstimator(), [], []
    now = 10**12
    for _ in range(3000):
        now += int(rng.integers(-(10**6), 10**9))
        trip, taken = (int(k) for k in rng.integers(-100, 10**6, 2))
        received = now - 5 * 10**11 + int(rng.integers(0, 10**6))
        times = (now - trip - taken, received, received + taken, now)
        lines.append("clock {} {} {} {}".format(*times))
        answer = str(int(estimator.add(*times)))
        offset = estimator.estimate(now)
        if offset is not None:
            answer += f" {offset.offset_ns} {offset.bound_ns} {offset.round_trip_ns}"
        expected.append(answer)
    compare(lines, cpp_client.ask(probe, lines), expected)


def test_a_clock_at_the_end_of_its_numbers_is_no_clock(probe):
    edge = 2**63 - 1
    lines = [f"clock 5 {-edge - 1} {-edge - 1} 6", f"clock 5 {-edge - 1} {edge} 6"]
    assert cpp_client.ask(probe, lines) == ["0", "0"]


@pytest.mark.parametrize(("period", "settings"), [(0.05, (2.0, 3.0)), (0.001, (4.0, 1.5))])
def test_spacings_are_judged_alike(probe, period, settings):
    rng = np.random.default_rng(7)
    monitor = SpacingMonitor(period, SpacingSettings(*settings))
    lines, expected = [f"spacing {period} {settings[0]} {settings[1]}"], [""]
    now_ns = 10**15
    for turn in range(4000):
        # Stretches on the beat, hurried, slow, stalled, and clocks that go back.
        usual = (1.0, 0.2, 1.6, 0.9)[turn // 50 % 4]
        periods = usual + rng.normal(0.0, 0.1) + rng.choice([0.0, 30.0, -2.0], p=[0.98, 0.01, 0.01])
        now_ns += round(periods * period * 1e9)
        paused = bool(rng.random() < 0.02)
        lines.append(f"note {now_ns} {int(paused)}")
        why = monitor.note(now_ns, paused)[1]
        expected.append(f"{monitor.allowed:.9g} {monitor.elapsed:.9g} {why}")
    compare(lines, cpp_client.ask(probe, lines), expected)
