"""The C++ client's limits, clock and spacing give the numbers that the Python ones give."""

import msgspec
import numpy as np
import pytest

from adapt.bundle.fields import Limit
from robot_bridge.errors import LimitError
from robot_bridge.protocol import codec, handshake
from robot_bridge.safety.limits import Limits
from robot_bridge.safety.spacing import SpacingMonitor, SpacingSettings
from robot_bridge.system.clock import OffsetEstimator
from tests.support.client import cpp_client

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
    cpp_client.agree(probe, lines, expected)


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
    cpp_client.agree(probe, lines, expected)


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
def test_limits_that_cannot_be_kept_are_refused_by_both(probe, bundle, limit):
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


def test_no_bounds_are_so_wide_that_a_reading_need_not_be_finite(probe, bundle):
    manifest, served = bundle.manifest, handshake.welcome(bundle, 1, [])
    wide = msgspec.structs.replace(manifest.observation[0], low=-1e300, high=1e300)
    fields = (wide, *manifest.observation[1:])
    served = msgspec.structs.replace(served, observation=fields)
    limits = Limits(fields, manifest.action, served.limits, manifest.control_period)
    lines = [f"welcome {codec.encode_message(served).hex()}"]
    expected = ["6 3"]
    for value in (3e38, np.inf, -np.inf):
        seen = np.array([value, 0, 0, 0, 0, 0], np.float32)
        lines.append(f"judge {seen.tobytes().hex()} -")
        invalid = limits.invalid(seen)
        assert ("not finite" in invalid) is bool(np.isinf(value))
        broken = limits.broken(seen)
        plain = f"{broken[0].name} {broken[1]}" if broken else "fine"
        expected.append(f"invalid {invalid}" if invalid else plain)
    cpp_client.agree(probe, lines, expected)


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
    cpp_client.agree(probe, lines, expected)


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
    cpp_client.agree(probe, lines, expected)
