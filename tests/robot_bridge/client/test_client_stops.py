"""Stops, releases and shadows as a client takes them, frame by frame, without a socket."""

import msgspec
import numpy as np
import pytest

from adapt.bundle.fields import Limit
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.client import receiver as hearing
from robot_bridge.client import robot_client as module
from robot_bridge.client.robot_client import RobotClient
from robot_bridge.errors import BridgeError, BridgeLost, CodecError
from robot_bridge.protocol import codec
from robot_bridge.protocol.handshake import welcome
from robot_bridge.protocol.messages import (
    RELEASE_REFUSED,
    RELEASED,
    STOPPED,
    Command,
    Event,
    Flag,
    Heartbeat,
    Kind,
    Mode,
    Outcome,
    Release,
    ResetRequest,
    Stop,
)
from tests.support import tiny_bundle
from tests.support.bridge.unpaced import LOOSE
from tests.support.client.fake_socket import FakeSocket

GOOD = np.zeros(6, np.float32)
RESET = ResetRequest(0, 0, 0, True)
CALM = 10**12  # [ns]
PERIOD_NS = 50_000_000


class Wire:
    """A client and the frames around it. replies: what follows each observation, as functions of
    its sequence; nothing is silence."""

    def __init__(self, bundle, monkeypatch, limits=None, spacing=None, **welcomed):
        manifest = bundle.manifest
        if limits is not None:
            manifest = msgspec.structs.replace(manifest, limits=limits)
            bundle = PolicyBundle(manifest, bundle.digest, bundle.graphs, 0.0)
        self.link = FakeSocket(self.post)
        monkeypatch.setattr(module, "ClientSocket", lambda *arguments: self.link)
        self.replies = []
        self.now_ns = 10**15 - PERIOD_NS + 3000
        fields = manifest.observation, manifest.action, manifest.control_period
        self.client = RobotClient(
            "ipc:///nowhere",
            "arm",
            *fields,
            patience=CALM / 1e9,
            now_ns=lambda: self.now_ns,
            spacing=spacing,
        )
        self.bridge(welcome(bundle, 5, ["arm"], **welcomed))
        self.client.connect()

    def post(self, data):
        frame = codec.decode(data)
        if frame.kind is Kind.OBSERVATION and self.replies:
            self.now_ns += 3000
            for make in self.replies.pop(0):
                self.link.inbox.append(make(frame.sequence))

    def bridge(self, *messages):
        for message in messages:
            self.link.inbox.append(codec.encode_message(message))

    def exchange(self, *makes, measured=GOOD, **flags):
        self.now_ns += PERIOD_NS - 3000
        self.replies.append(makes)
        return self.client.exchange(measured, **flags)

    def flags(self):
        """Of the latest observation."""
        sent = [frame for frame in self.link.sent if frame.kind is Kind.OBSERVATION]
        return codec.decode_observation(sent[-1]).flags

    def events(self, name):
        found = [codec.decode_message(f, Event) for f in self.link.sent if f.kind is Kind.EVENT]
        return [event for event in found if event.name == name]


def track(*numbers, mode=Mode.TRACK, shadow=False):
    payload = np.array(numbers or (0, 0, 0), np.float32)
    return lambda sequence: codec.encode_command(
        Command(sequence, CALM, mode, payload, 0, 1000, 2000, shadow), 5
    )


def says(message):
    return lambda sequence: codec.encode_message(message)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return PolicyBundle.load(tiny_bundle.write(tmp_path_factory.mktemp("bundles") / "tiny"))


@pytest.fixture
def wire(bundle, monkeypatch):
    return Wire(bundle, monkeypatch)


def test_a_stop_behind_a_command_wins_over_it_now(wire):
    assert wire.exchange(track(), first=True).mode is Mode.TRACK
    command = wire.exchange(track(0.001, 0, 0), says(Stop("button", number=1)))
    assert (command.mode, command.payload.tolist()) == (Mode.STOP, [0, 0, 0])
    assert wire.client.state.stop == 1


def test_a_stop_behind_a_thousand_events_is_heard_next_time_at_the_latest(wire):
    noise = [says(Event("x", "arm", "y"))] * 2 * hearing.BACKLOG
    wire.exchange(track(), *noise, says(Stop("button", number=1)), first=True)
    modes = [wire.exchange(track()).mode for _ in range(3)]
    assert modes[-1] is Mode.STOP


def test_a_release_that_was_given_before_the_second_stop_does_not_open_it(wire):
    wire.exchange(track(), says(Stop("one", number=1)), first=True)
    wire.bridge(Stop("two", number=2), Release("arm", 1, 0))
    assert wire.exchange(track()).mode is Mode.STOP
    assert [event.text for event in wire.events(RELEASE_REFUSED)] == [
        "it answers stop 1 of the bridge and 0 of its own; the robot has stop 2 of the bridge and "
        "0 of its own"
    ]
    wire.bridge(Release("arm", 2, 0))
    assert wire.exchange(track()).mode is Mode.HOLD
    assert len(wire.events(RELEASED)) == 1
    assert wire.exchange(track()).mode is Mode.TRACK


def test_what_the_driver_halts_while_stopped_needs_an_answer_of_its_own(wire):
    wire.client.halt("one")
    wire.client.halt("a hand in the cell")
    assert [event.number for event in wire.events(STOPPED)] == [1, 2]
    wire.bridge(Release("arm", 0, 1))
    assert wire.client.check() is Mode.STOP
    wire.bridge(Release("arm", 0, 2))
    assert wire.client.check() is Mode.HOLD


def test_a_fault_counts_once_for_as_long_as_it_lasts(wire):
    for faults, latches in ((4, 1), (4, 1), (6, 2), (2, 2), (0, 2), (4, 3)):
        wire.exchange(track(mode=Mode.STOP), faults=faults)
        assert wire.client.state.latch == latches
    # Released while it lasts, it stops the robot again at once.
    wire.bridge(Release("arm", 0, 3))
    assert wire.client.check() is Mode.HOLD
    assert wire.exchange(track(), faults=4).mode is Mode.STOP


def test_the_answer_to_what_was_asked_before_a_release_is_not_followed(wire):
    wire.client.halt("one")
    command = wire.exchange(says(Release("arm", 0, 1)), track(0.001, 0, 0), first=True)
    assert command.mode is Mode.HOLD
    assert wire.exchange(track()).mode is Mode.TRACK


def test_a_heartbeat_tells_of_a_stop_that_was_lost(wire):
    wire.exchange(track(), first=True)
    assert wire.exchange(track(), says(Heartbeat(0))).mode is Mode.TRACK
    assert wire.exchange(track(), says(Heartbeat(3))).mode is Mode.STOP
    wire.bridge(Release("arm", 3, 0), Heartbeat(3))
    assert wire.client.check() is Mode.HOLD


def test_whoever_is_welcomed_stopped_is_stopped_and_counts_on(bundle, monkeypatch):
    wire = Wire(bundle, monkeypatch, stop=4, latches={"arm": 7}, stopped=True)
    assert wire.client.stopped
    wire.client.halt("more")
    assert wire.events(STOPPED)[-1].number == 8
    wire.bridge(RESET, Release("arm", 4, 8))
    # What was asked for before the release is off.
    assert wire.client.wait_reset(0.0) is None
    assert not wire.client.stopped


def test_a_request_that_comes_while_the_driver_looks_elsewhere_is_kept(wire):
    wire.bridge(RESET)
    assert wire.client.check() is Mode.HOLD
    assert wire.client.wait_reset(0.0) == RESET
    assert wire.client.wait_reset(0.0) is None


def test_a_stop_right_behind_a_request_keeps_the_driver_from_setting_out(wire):
    wire.bridge(RESET, Stop("button", number=1))
    assert wire.client.wait_reset(0.0) is None
    assert wire.client.stopped


def test_a_bridge_that_falls_silent_between_episodes_stops_the_robot(wire):
    assert wire.client.check() is Mode.HOLD
    wire.link.silence = 4.0
    assert wire.client.check() is Mode.STOP
    assert wire.client.state.latch == 1
    wire.client.check()
    assert wire.client.state.latch == 1
    with pytest.raises(BridgeLost):
        wire.client.wait_reset(0.0)


def test_a_robot_shows_that_it_lives_how_it_stands_and_how_the_clocks_differ(wire):
    wire.exchange(track(), first=True)
    wire.client.halt("one")
    wire.now_ns += 10**9
    wire.client.check()
    beats = [codec.decode_message(f, Heartbeat) for f in wire.link.sent if f.kind is Kind.HEARTBEAT]
    assert beats[-1].stopped
    assert beats[-1].latch == 1
    # Asked at 10¹⁵ ns, answered 3000 ns later, of which the bridge took 1000, from its 1000 on.
    assert (beats[-1].clock_offset_ns, beats[-1].round_trip_ns) == (-(10**15), 2000)


def test_a_robot_can_stop_everybody(wire):
    wire.client.stop_all("smoke")
    (frame,) = [frame for frame in wire.link.sent if frame.kind is Kind.STOP]
    assert codec.decode_message(frame, Stop).reason == "smoke"
    assert wire.client.stopped


# What a command line makes of a byte that is no UTF-8, and more words than any frame holds.
UNSPEAKABLE = "smoke \udcff" + "x" * 5000


def test_a_stop_of_everybody_goes_out_first_and_whatever_its_words(wire):
    wire.client.stop_all(UNSPEAKABLE)
    said = [frame for frame in wire.link.sent if frame.kind in (Kind.STOP, Kind.EVENT)]
    assert [frame.kind for frame in said] == [Kind.STOP, Kind.EVENT]
    stop, event = codec.decode_message(said[0], Stop), codec.decode_message(said[1], Event)
    assert stop.reason.startswith("smoke \\udcffxxx")
    assert (event.name, event.text) == (STOPPED, stop.reason)
    assert wire.client.stopped


@pytest.mark.parametrize("error", [BridgeLost("gone"), CodecError("no"), RuntimeError("no")])
def test_a_robot_stops_even_where_it_cannot_stop_the_others(wire, monkeypatch, error):
    def send(message):
        raise error

    monkeypatch.setattr(wire.link, "send", send)
    with pytest.raises(type(error)):
        wire.client.stop_all("smoke")
    assert wire.client.stopped
    if isinstance(error, BridgeError):
        # What cannot be told does not come up into the driver's loop.
        wire.client.halt("again")


def test_whatever_a_driver_says_of_its_stop_it_can_be_told_and_quoted(wire):
    wire.exchange(track(), first=True)
    wire.client.halt(UNSPEAKABLE)
    (event,) = wire.events(STOPPED)
    assert event.text == wire.client.state.reason
    assert event.text.startswith("smoke \\udcffxxx")
    wire.client.end_episode(Outcome(False, 1, 0.1, "quoted: \udcff"))
    ended = [frame for frame in wire.link.sent if frame.kind is Kind.EPISODE_END]
    assert codec.decode_message(ended[0], Outcome).reason == "quoted: \\udcff"


@pytest.mark.parametrize("kind", [Kind.HEARTBEAT, Kind.EVENT, Kind.RELEASE, Kind.RESET])
def test_what_cannot_be_read_is_dropped_while_a_request_is_waited_for(wire, kind):
    frames = [codec.encode(kind, b"\xc1", session=5), codec.encode_message(RESET)]
    looks = []

    def pump():
        looks.append(kind)
        # Not among what is there at once, but while the client waits: every second look does.
        if len(looks) % 2 == 0 and frames:
            wire.link.inbox.append(frames.pop(0))

    wire.link.pump = pump
    assert wire.client.wait_reset(60.0) == RESET


def test_whoever_is_damped_by_a_force_stays_so_after_the_episode(bundle, monkeypatch):
    limit = Limit("force", "wrench", -5.0, 5.0, "N", "the pins bend")
    wire = Wire(bundle, monkeypatch, [limit])
    wire.exchange(track(), first=True)
    pressed = np.array([0, 0, 0, 0, 0, 6], np.float32)
    last = wire.exchange(track(mode=Mode.HOLD), measured=pressed, last=True)
    assert last.mode is Mode.DAMP
    wire.client.end_episode(Outcome(False, 1, 0.1, "done"))
    assert wire.client.check() is Mode.DAMP
    wire.bridge(RESET)
    assert wire.client.wait_reset(0.0) == RESET
    assert wire.client.check() is Mode.HOLD


def test_a_measurement_that_jumps_damps(bundle, monkeypatch):
    limit = Limit("rate", "wrench", -100.0, 100.0, "N/s", "an impact")
    wire = Wire(bundle, monkeypatch, [limit])
    measured = np.zeros(6, np.float32)
    for force, mode in ((9, Mode.TRACK), (5, Mode.TRACK), (-1, Mode.DAMP), (-1, Mode.TRACK)):
        # Into the same array each time, as drivers do.
        measured[5] = force
        assert wire.exchange(track(), measured=measured, first=force == 9).mode is mode


def test_a_measurement_that_makes_no_sense_is_not_moved_by(wire):
    wire.exchange(track(), first=True)
    for measured in (np.full(6, np.nan, np.float32), np.full(6, 99, np.float32), np.zeros(7)):
        assert wire.exchange(track(0.001, 0, 0), measured=measured).mode is Mode.HOLD


def test_the_first_command_and_the_first_after_a_hold_change_from_nothing(bundle, monkeypatch):
    limit = Limit("rate", "translation", -0.01, 0.01, "m/s", "jerk")
    wire = Wire(bundle, monkeypatch, [limit])
    full = track(0.001, 0, 0)
    moved = [wire.exchange(full, first=True), wire.exchange(full)]
    moved += [wire.exchange(track(mode=Mode.HOLD)), wire.exchange(full)]
    steps = [round(float(command.payload[0]), 6) for command in moved]
    assert steps == [0.0005, 0.001, 0.0, 0.0005]


JERK = Limit("rate", "translation", -0.01, 0.01, "m/s", "jerk")  # 0.0005 m a period


@pytest.fixture
def moving(bundle, monkeypatch):
    """A robot that follows 0.001 m a period."""
    wire = Wire(bundle, monkeypatch, [JERK], LOOSE)
    for first in (True, False):
        assert wire.exchange(track(0.001, 0, 0), first=first).mode is Mode.TRACK
    return wire


def starts_from_nothing(wire):
    command = wire.exchange(track(0.001, 0, 0))
    assert wire.flags() == Flag.UNAPPLIED
    assert round(float(command.payload[0]), 6) == 0.0005
    # It was clamped, and after that all is well.
    for flags in (Flag.UNAPPLIED, Flag(0)):
        command = wire.exchange(track(0.001, 0, 0))
        assert (wire.flags(), round(float(command.payload[0]), 6)) == (flags, 0.001)


def test_after_a_hold_between_two_periods_commands_change_from_nothing(moving):
    moving.now_ns += 2 * CALM
    assert moving.client.check() is Mode.HOLD
    starts_from_nothing(moving)


def test_after_a_stop_and_its_release_between_two_periods_too(moving):
    moving.bridge(Stop("button", number=1), Release("arm", 1, 0))
    assert moving.client.check() is Mode.HOLD
    # The mode is the release's; the first answer after it is followed again.
    starts_from_nothing(moving)


def test_a_look_between_two_periods_changes_nothing_by_itself(moving):
    assert moving.client.check() is Mode.TRACK
    assert moving.exchange(track(0.001, 0, 0)).payload[0] == np.float32(0.001)


def test_a_shadow_moves_nothing_whatever_it_says(bundle, monkeypatch):
    wire = Wire(bundle, monkeypatch, shadow=True)
    assert wire.client.shadow
    proposed = track(0.001, 0, 0, mode=Mode.HOLD, shadow=True)
    for make in (proposed, track(0.001, 0, 0)):
        command = wire.exchange(make, first=make is proposed)
        assert (command.mode, command.payload.tolist()) == (Mode.HOLD, [0, 0, 0])
        if make is proposed:
            assert wire.client.proposal is not None
            np.testing.assert_allclose(wire.client.proposal, [0.001, 0, 0])
    assert wire.exchange(proposed, says(Stop("button", number=1))).mode is Mode.STOP


def test_a_command_of_a_shadow_is_not_followed_in_live_mode_either(wire):
    wire.exchange(track(), first=True)
    assert wire.exchange(track(0.001, mode=Mode.HOLD, shadow=True)).mode is Mode.HOLD


def test_a_bridge_at_the_end_of_its_numbers_cannot_keep_a_robot_from_stopping(bundle, monkeypatch):
    wire = Wire(bundle, monkeypatch, stop=2**62, latches={"arm": 2**62})
    wire.client.halt("button")
    assert wire.client.stopped
    assert wire.events(STOPPED)[-1].number == 2**62
    edge = -(2**63)
    command = wire.exchange(
        lambda n: codec.encode_command(Command(n, CALM, Mode.TRACK, GOOD[:3], 0, edge, edge), 5)
    )
    assert command.mode is Mode.STOP
    assert wire.client.clock_offset is None
    # No release can answer it: nothing is left to count with.
    wire.bridge(Release("arm", 2**62, 2**62))
    assert wire.client.check() is Mode.STOP


def apart(wire, periods, *makes, **flags):
    """An exchange so many control periods after the one before."""
    wire.now_ns += round((periods - 1) * PERIOD_NS)
    return wire.exchange(*makes, **flags).mode


def test_a_driver_that_never_waits_is_held_whatever_the_bridge_says(bundle, monkeypatch):
    wire = Wire(bundle, monkeypatch)
    modes = [apart(wire, 0.1, track(0.001, 0, 0), first=step == 0) for step in range(100)]
    assert modes.count(Mode.TRACK) < 6
    assert modes[-1] is Mode.HOLD
    assert "control period is 0.05 s" in wire.client.state.reason
    modes = [apart(wire, 1, track(0.001, 0, 0)) for _ in range(40)]
    assert modes[-1] is Mode.TRACK


def test_a_driver_that_stalls_holds_and_says_that_it_did_not_follow(bundle, monkeypatch):
    wire = Wire(bundle, monkeypatch)
    assert apart(wire, 1, track(0.001, 0, 0), first=True) is Mode.TRACK
    assert apart(wire, 1, track(0.001, 0, 0)) is Mode.TRACK
    assert apart(wire, 40, track(0.001, 0, 0)) is Mode.HOLD
    apart(wire, 1, track(0.001, 0, 0))
    assert wire.flags() & Flag.UNAPPLIED


def test_rates_count_the_time_that_has_passed(bundle, monkeypatch):
    # Of a full step within a control period.
    rate = Limit("rate", "translation", -0.02, 0.02, "m/s", "jerk")
    wire = Wire(bundle, monkeypatch, limits=[rate])
    apart(wire, 1, track(0, 0, 0), first=True)
    wire.now_ns += PERIOD_NS // 5 - PERIOD_NS
    command = wire.exchange(track(0.001, 0, 0))
    np.testing.assert_allclose(command.payload[0], 0.2 * 0.001, rtol=1e-4)
