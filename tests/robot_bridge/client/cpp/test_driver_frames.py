"""The C++ driver frame by frame, against a bridge that a test controls."""

import msgspec
import numpy as np
import pytest

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    Command,
    Event,
    Flag,
    Heartbeat,
    Kind,
    Mode,
    Outcome,
    Ready,
    Refused,
    Release,
    ResetRequest,
    Stop,
)
from tests.support import tiny_bundle
from tests.support.client import cpp_client
from tests.support.client.cpp_client import SIMULATED

LARGE = np.array([5.0, -5.0, 0.001], np.float32)


@pytest.fixture
def hand(tmp_path):
    made = cpp_client.HandBridge(tmp_path / "b")
    yield made
    made.close()


@pytest.fixture
def driver(program, hand):
    with cpp_client.driver(program, hand.endpoint, *SIMULATED) as made:
        yield made


def send(hand, message):
    hand.say(codec.encode_message(message, session=hand.SESSION))


def opened(hand, bundle, driver, **standing):
    """The first observation of an episode."""
    hand.welcome(bundle, **standing)
    driver.wait_line("connected tiny")
    send(hand, ResetRequest(1, 2, 3, True))
    ready = codec.decode_message(hand.expect(Kind.READY), Ready)
    assert ready.truth == {"socket_x": 0.5}
    return hand.expect(Kind.OBSERVATION)


def event(hand, name):
    while True:
        found = codec.decode_message(hand.expect(Kind.EVENT), Event)
        if found.name == name:
            return found


def test_what_it_says_is_what_the_python_codec_reads(hand, bundle, driver):
    frame = opened(hand, bundle, driver)
    first = codec.decode_observation(frame)
    assert (first.sequence, first.flags, first.faults) == (1, Flag.FIRST, 0)
    assert first.payload.tolist() == [0.0] * 6
    for step in range(1, 21):
        hand.say(hand.command(frame, np.array([0.0005, 0.0, 0.0], np.float32)))
        frame = hand.expect(Kind.OBSERVATION)
        seen = codec.decode_observation(frame)
        assert seen.sequence == step + 1
        assert seen.flags == (Flag.LAST if step == 20 else 0)
        np.testing.assert_allclose(seen.payload[0], 0.0005 * step, rtol=1e-5)
        np.testing.assert_allclose(seen.payload[3], -0.01 * step, rtol=1e-5)
    hand.say(hand.command(frame, np.zeros(3, np.float32), Mode.HOLD))
    outcome = codec.decode_message(hand.expect(Kind.EPISODE_END), Outcome)
    assert (outcome.success, outcome.steps, outcome.reason) == (True, 20, "time is up")
    beat = codec.decode_message(hand.expect(Kind.HEARTBEAT), Heartbeat)
    assert (beat.stop, beat.latch, beat.stopped) == (0, 0, False)
    driver.process.terminate()
    assert hand.expect(Kind.BYE).payload == b""


def test_commands_are_clamped_and_said_to_be(hand, bundle, driver):
    frame = opened(hand, bundle, driver)
    hand.say(hand.command(frame, LARGE))
    frame = hand.expect(Kind.OBSERVATION)
    seen = codec.decode_observation(frame)
    np.testing.assert_array_equal(seen.payload[:2], np.array([0.001, -0.001], np.float32))
    assert seen.flags == Flag.UNAPPLIED
    for senseless in (np.array([np.nan, 0, 0], np.float32), np.zeros(4, np.float32)):
        hand.say(hand.command(frame, senseless))
        frame = hand.expect(Kind.OBSERVATION)
        assert codec.decode_observation(frame).flags == Flag.UNAPPLIED
        np.testing.assert_array_equal(codec.decode_observation(frame).payload, seen.payload)
    driver.wait_line("step 1 HOLD command[0] (translation) is nan")
    driver.wait_line("step 2 HOLD command of 4 numbers; expected 3")


def test_a_bridge_that_trusts_a_broken_sensor_does_not_move_the_robot(hand, bundle, program):
    with cpp_client.driver(program, hand.endpoint, "--blind-at", 1, *SIMULATED) as driver:
        frame = opened(hand, bundle, driver)
        for step in (1, 2):
            hand.say(hand.command(frame, LARGE))
            frame = hand.expect(Kind.OBSERVATION)
            assert np.isnan(codec.decode_observation(frame).payload[0]), step
        assert driver.wait_line("step 1 ") == (
            "step 1 HOLD not finite: tip_position[0] is nan m; expected -10 to 10"
        )
        # It moved at the first command, when it could see, and not since.
        assert codec.decode_observation(frame).payload[1] == np.float32(-0.001)


def test_nothing_that_is_broken_is_an_answer_and_nothing_does_harm(hand, bundle, driver):
    rng = np.random.default_rng(0)
    frame = opened(hand, bundle, driver)
    good = hand.command(frame, np.zeros(3, np.float32))
    flipped = good[:60] + bytes([good[60] ^ 1]) + good[61:]
    hand.say(flipped)
    hand.say(good[:-1])
    hand.say(good + b"\0")
    hand.say(b"")
    for kind in Kind:
        # One that makes sense only in its frame; a stop of that kind stops, and is tried below.
        if kind not in (Kind.STOP, Kind.REFUSED, Kind.BYE, Kind.COMMAND):
            hand.say(codec.encode(kind, rng.bytes(50), session=hand.SESSION))
    hand.say(rng.bytes(1_000_000))
    hand.say(hand.command(frame, LARGE)[:10], good[5:], good)
    answered = codec.decode_observation(hand.expect(Kind.OBSERVATION))
    assert (answered.sequence, answered.flags) == (2, 0)
    assert answered.payload.tolist() == [0.0] * 6


def test_a_stop_that_has_arrived_behind_a_command_wins(hand, bundle, driver):
    frame = opened(hand, bundle, driver)
    stop = codec.encode_message(Stop("button", number=4), session=hand.SESSION)
    hand.say(hand.command(frame, LARGE), stop)
    told = event(hand, "robot_stopped")
    assert (told.text, told.number, told.robot) == ("button", 0, "toy")
    assert codec.decode_message(hand.expect(Kind.EPISODE_END), Outcome).reason == "button"
    driver.wait_line("end button")


def test_only_a_release_that_names_every_stop_opens_the_latch(hand, bundle, driver):
    hand.welcome(bundle, stop=2, latches={"toy": 3}, stopped=True)
    driver.wait_line("stopped stopped before it connected")
    send(hand, ResetRequest(1, 2, 3, True))
    assert event(hand, "robot_stopped").number == 3
    hand.stop = 9
    while "9" not in event(hand, "robot_stopped").text:
        continue
    for stop, latch in ((8, 3), (9, 2), (0, 0)):
        send(hand, Release("toy", stop, latch))
        told = event(hand, "release_refused").text
        assert told == (
            f"it answers stop {stop} of the bridge and {latch} of its own; the robot has stop 9 "
            "of the bridge and 3 of its own"
        )
    send(hand, Release("toy", 9, 3))
    assert "the bridge has given stop 9" in event(hand, "robot_released").text
    driver.wait_line("free released")
    send(hand, Release("toy", 9, 3))
    assert event(hand, "robot_released").text == "it was not stopped"
    # The words of this one cannot be read, and its number neither.
    hand.say(codec.encode(Kind.STOP, b"\xc1", session=hand.SESSION))
    assert event(hand, "robot_stopped").text.startswith("why cannot be read: ")
    send(hand, Release("toy", 9, 3))
    event(hand, "robot_released")
    # The request from before the release is gone with the stop; a new one is followed.
    send(hand, ResetRequest(1, 5, 3, True))
    driver.wait_line("reset 5")
    assert not [line for line in driver.said if line == "reset 2"]


def test_a_robot_welcomed_by_a_shadow_never_moves(hand, bundle, driver):
    frame = opened(hand, bundle, driver, shadow=True)
    for step, shadow in ((1, False), (2, True)):
        hand.say(hand.command(frame, LARGE, Mode.HOLD if shadow else Mode.TRACK, shadow=shadow))
        frame = hand.expect(Kind.OBSERVATION)
        seen = codec.decode_observation(frame)
        assert (seen.payload[:2].tolist(), seen.flags) == ([0.0, 0.0], Flag.UNAPPLIED), step
    hand.say(hand.command(frame, LARGE, Mode.HOLD, shadow=True))
    driver.wait_line("step 2 HOLD the bridge says so")


def test_who_is_refused_within_a_session_stops_and_goes(hand, bundle, driver):
    opened(hand, bundle, driver)
    hand.say(codec.encode_message(Refused(("go away",))))
    driver.wait_line("refused: go away")
    assert driver.exit_code() == 2


def test_a_welcome_to_another_robots_bundle_is_no_welcome(hand, tmp_path, driver):
    other = tiny_bundle.write(tmp_path / "other", observation_size=4)
    hand.welcome(PolicyBundle.load(other))
    driver.wait_line("observation field 'tip_position': shape: expected (2, ), found (3, )")
    assert driver.exit_code() == 2


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    return cpp_client.build("check/steered.cpp", tmp_path_factory.mktemp("cpp"))


FULL = np.array([0.001, 0, 0], np.float32)
STILL = "0 0 0 0 0 0"


def moved(hand, driver, word="next", validity_ns=10**12):
    """One period: what was flagged, and what was followed along the first axis."""
    driver.tell(f"{word} {STILL}")
    frame = hand.expect(Kind.OBSERVATION)
    command = Command(frame.sequence, validity_ns, Mode.TRACK, FULL)
    hand.say(codec.encode_command(command, hand.SESSION))
    followed = float(driver.wait_line("TRACK ").split()[1])
    return codec.decode_observation(frame).flags, followed


@pytest.fixture
def rated(steered, hand, bundle):
    """A robot whose commands change by 0.0005 m a period at most."""
    limit = Limit("rate", "translation", -0.01, 0.01, "m/s", "jerk")
    manifest = msgspec.structs.replace(bundle.manifest, limits=[limit])
    with cpp_client.driver(steered, hand.endpoint) as made:
        hand.welcome(PolicyBundle(manifest, bundle.digest, bundle.graphs, 0.0))
        made.wait_line("connected tiny")
        yield made


@pytest.mark.parametrize("cause", ["validity", "stop"])
def test_what_is_heard_between_two_periods_is_not_forgotten(hand, rated, cause):
    assert moved(hand, rated, "first") == (Flag.FIRST, 0.0005)
    last = 1 if cause == "validity" else 10**12
    assert moved(hand, rated, validity_ns=last) == (Flag.UNAPPLIED, 0.001)
    if cause == "stop":
        messages = Stop("button", number=4), Release("steered", 4, 0)
        hand.say(*(codec.encode_message(one, session=hand.SESSION) for one in messages))
    rated.tell("until HOLD")
    rated.wait_line("HOLD")
    # From nothing again, and said so; the command of the period before was clamped, or not.
    assert moved(hand, rated) == (Flag.UNAPPLIED, 0.0005)
    assert moved(hand, rated) == (Flag.UNAPPLIED, 0.001)
    assert moved(hand, rated) == (0, 0.001)


def test_a_stop_of_all_robots_is_sent_before_its_own_with_any_reason(hand, rated):
    rated.tell("stop_all smoke \udcff" + "x" * 5000)
    assert codec.decode_message(hand.expect(Kind.STOP), Stop).reason.startswith("smoke ?xxx")
    told = event(hand, "robot_stopped")
    assert (told.text[:9], told.number) == ("smoke ?xx", 1)
    rated.wait_line("STOP")
