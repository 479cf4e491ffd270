"""Stops, releases and shadows as a client takes them, frame by frame, without a socket."""

import numpy as np
import pytest

from robot_bridge.client import receiver as hearing
from robot_bridge.errors import BridgeError, BridgeLost, CodecError
from robot_bridge.protocol import codec
from robot_bridge.protocol.messages import (
    RELEASE_REFUSED,
    RELEASED,
    STOPPED,
    Command,
    Event,
    Heartbeat,
    Kind,
    Mode,
    Outcome,
    Release,
    Stop,
)
from tests.support.client.client_without_sockets import CALM, GOOD, RESET, Wire, says, track


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


def test_a_robot_welcomed_as_stopped_is_stopped_and_counts_on(bundle, monkeypatch):
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


def test_a_stop_of_all_robots_is_sent_first_with_any_reason(wire):
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


def test_any_reason_of_a_drivers_stop_can_be_sent_and_quoted(wire):
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


def test_no_command_of_a_shadow_moves_a_robot(bundle, monkeypatch):
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
