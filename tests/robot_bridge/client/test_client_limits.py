"""What limits, rates and spacing make of a client's commands and measurements."""

import numpy as np
import pytest

from adapt.bundle.fields import Limit
from robot_bridge.protocol.messages import (
    Flag,
    Mode,
    Outcome,
    Release,
    ResetRequest,
    Stop,
)
from tests.support.bridge.unpaced import LOOSE
from tests.support.client.client_without_sockets import CALM, PERIOD_NS, RESET, Wire, track


def test_a_robot_damped_by_a_force_stays_damped_after_the_episode(bundle, monkeypatch):
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


def apart(wire, periods, *makes, **flags):
    """An exchange so many control periods after the one before."""
    wire.now_ns += round((periods - 1) * PERIOD_NS)
    return wire.exchange(*makes, **flags).mode


def test_a_driver_that_never_waits_is_held_against_the_bridges_commands(bundle, monkeypatch):
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


FAR = (Limit("workspace", "translation", -9.0, 9.0, "m", "probing"),)
PROBING = ResetRequest(0, 0, 0, True, FAR)


def test_a_driver_that_does_not_probe_stops_where_it_is_asked_to(wire):
    wire.bridge(PROBING)
    assert wire.client.wait_reset(0.0) is None
    assert wire.client.stopped
    assert "has not said it can" in wire.client.state.reason
