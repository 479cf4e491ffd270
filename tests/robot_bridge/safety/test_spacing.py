"""A robot moves only while its observations come about one control period apart."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_bridge.safety.spacing import TOO_FAST, TOO_SLOW, SpacingMonitor, SpacingSettings

PERIOD = 0.05


def names(*spacings, start=0, monitor=None):
    """What is said of observations that are so many control periods apart."""
    monitor = monitor or SpacingMonitor(PERIOD)
    times = np.concatenate([[start], start + np.cumsum(spacings)])
    return [monitor.note(round(time * PERIOD * 1e9))[0] for time in times]


@given(st.lists(st.floats(0.0, 0.9), min_size=1, max_size=300))
def test_jitter_below_a_period_never_holds_a_driver_on_the_beat(late):
    # As a driver on absolute deadlines has it: each observation late by its own hiccup alone.
    times = np.arange(len(late)) + np.array(late)
    monitor = SpacingMonitor(PERIOD)
    assert {monitor.note(round(time * PERIOD * 1e9))[0] for time in times} == {""}


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=200))
def test_no_driver_moves_much_faster_than_the_period_allows(spacings):
    said = names(*spacings)
    elapsed = np.concatenate([[0.0], np.cumsum(spacings)])
    # Over every stretch of time: what was granted against what the clock allows.
    granted = np.concatenate([[0], np.cumsum([not name for name in said])])
    for first in range(0, len(said), 7):
        for last in range(first, len(said), 5):
            commands = granted[last + 1] - granted[first]
            allowed = (elapsed[last] - elapsed[first]) / 0.9
            assert commands <= allowed + (3.0 + 1.0) / 0.9 + 1.0


@pytest.mark.parametrize("spacing", [0.0, 0.1, 0.2, 0.5, 0.8, -2.0])
def test_a_driver_that_is_too_fast_holds_for_as_long_as_it_is(spacing):
    said = names(*[spacing] * 200)
    first = said.index(TOO_FAST)
    assert set(said[:first]) == {""}
    assert set(said[first:]) == {TOO_FAST}
    assert first <= 3.0 / (0.9 - max(spacing, 0.0)) + 2


@pytest.mark.parametrize("spacing", [1.5, 1.9, 2.5])
def test_a_driver_that_is_too_slow_holds_for_as_long_as_it_is(spacing):
    said = names(*[spacing] * 200)
    assert set(said[20:]) == {TOO_SLOW}


@pytest.mark.parametrize("spacing", [0.95, 1.0, 1.2])
def test_about_the_right_rate_is_fine_for_ever(spacing):
    assert set(names(*[spacing] * 5000)) == {""}


def test_a_stall_holds_at_once_and_until_the_beat_is_steady():
    said = names(1, 1, 40, *[1] * 30)
    assert said[:4] == ["", "", "", TOO_SLOW]
    recovered = said.index("", 3)
    assert 5 < recovered < 20
    assert set(said[recovered:]) == {""}


def test_what_was_too_fast_goes_on_after_a_while_on_the_beat():
    said = names(*[0.1] * 10, *[1] * 40)
    recovered = len(said) - said[::-1].index(TOO_FAST)
    assert 25 < recovered < 45
    assert set(said[recovered:]) == {""}


def test_a_catch_up_of_three_after_a_hiccup_is_no_fault():
    assert set(names(1, 1, 2, 0.01, 0.01, 0.01, 1, 1)) == {""}


def test_between_two_episodes_a_robot_may_take_its_time_but_not_hurry():
    monitor = SpacingMonitor(PERIOD)
    assert monitor.note(0, paused=True) == ("", "")
    assert monitor.note(10**12, paused=True) == ("", "")
    said = [monitor.note(10**12 + k, paused=True)[0] for k in range(10)]
    assert said[-1] == TOO_FAST


def test_what_is_wrong_is_said_in_seconds():
    monitor = SpacingMonitor(PERIOD)
    monitor.note(0)
    text = monitor.note(2_000_000_000)[1]
    assert text == "2 s since the observation before; the bundle's control period is 0.05 s"


def test_a_driver_without_a_rate_is_never_held_and_may_change_by_a_whole_period():
    monitor = SpacingMonitor(PERIOD, SpacingSettings(math.inf, math.inf))
    said = names(*[0.0, 0.01, 100.0] * 20, monitor=monitor)
    assert set(said) == {""}
    monitor.note(10**12)
    monitor.note(10**12 + 1)
    assert monitor.allowed == 1.0
    tight = SpacingMonitor(PERIOD)
    tight.note(0)
    tight.note(1)
    assert 0 < tight.allowed < 1e-3
