"""Commands never leave their margins; measurements outside theirs are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adapt.manifest import ActionField, Field, Limit
from robot_bridge.errors import LimitError
from robot_bridge.limits import Limits
from robot_bridge.messages import Mode

PERIOD = 0.05
SEEN = [Field("tip", (2,), "m", -1.0, 1.0), Field("wrench", (3,), "N", -100.0, 100.0)]
ACTED = [
    ActionField("step", (2,), "m", -0.01, 0.01, 0.001),
    ActionField("yaw", (1,), "rad", -0.02, 0.02, 0.02),
]
RATE = Limit("rate", "step", -0.01, 0.02, "m/s", "jerk")
FORCE = Limit("force", "wrench", -20.0, 20.0, "N", "the pins bend")
SPACE = Limit("workspace", "tip", -0.5, 0.5, "m", "the table ends")
COMMANDS = arrays(np.float32, 3, elements=st.floats(-1, 1, width=32))


def make(*limits):
    return Limits(SEEN, ACTED, limits, PERIOD)


@given(st.lists(COMMANDS, min_size=1, max_size=10))
def test_no_sequence_of_commands_leaves_range_or_rate(commands):
    limits, before = make(RATE), None
    for command in commands:
        within, _ = limits.clamp(command, before)
        assert np.all(np.abs(within) <= limits.scale)
        if before is not None:
            change = (within - before)[:2].astype(np.float64) / PERIOD
            assert np.all(change <= 0.02 + 1e-6)
            assert np.all(change >= -0.01 - 1e-6)
        again, names = limits.clamp(within, before)
        np.testing.assert_array_equal(again, within)
        assert names == ()
        before = within


def test_clipped_fields_are_named_once_and_others_untouched():
    within, names = make().clamp(np.array([0.01, -0.01, 0.015], np.float32), None)
    np.testing.assert_array_equal(within, np.array([0.001, -0.001, 0.015], np.float32))
    assert names == ("step",)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_command_that_is_no_number_is_refused(value):
    with pytest.raises(LimitError, match=r"command\[2\] \(yaw\)"):
        make().clamp(np.array([0, 0, value], np.float32), None)


@given(arrays(np.float32, 5, elements=st.floats(width=32)))
def test_an_observation_is_valid_exactly_within_its_fields(observation):
    low = np.array([-1, -1, -100, -100, -100])
    inside = bool(np.all((observation >= low) & (observation <= -low)))
    assert (make().invalid(observation) == "") is inside


def test_what_is_invalid_is_named_with_what_would_be_right():
    text = make().invalid(np.array([0, 0, 0, np.nan, 0], np.float32))
    assert text == "wrench[1] is nan N; expected -100 to 100"
    assert "4 numbers; the bundle's fields have 5" in make().invalid(np.zeros(4, np.float32))


def test_the_strictest_broken_margin_wins():
    limits = make(SPACE, FORCE)
    assert limits.broken(np.zeros(5, np.float32)) is None
    assert limits.broken(np.array([0.6, 0, 0, 0, 0], np.float32)) == (
        Mode.HOLD,
        "workspace tip is 0.6 m; the limit is -0.5 to 0.5 (the table ends)",
    )
    both = limits.broken(np.array([0.6, 0, -30, 0, 0], np.float32))
    assert both is not None
    assert both[0] is Mode.DAMP


@given(arrays(np.float32, 5, elements=st.floats(width=32)))
def test_an_observation_breaks_nothing_exactly_within_its_margins(observation):
    low = np.array([-0.5, -0.5, -20, -20, -20], np.float32)
    inside = bool(np.all((observation >= low) & (observation <= -low)))
    assert (make(SPACE, FORCE).broken(observation) is None) is inside


def test_limits_that_cannot_be_kept_are_refused():
    for limit, word in (
        (Limit("force", "torque", -1, 1, "N", ""), "there are tip, wrench, step, yaw"),
        (Limit("rate", "wrench", -1, 1, "N/s", ""), "can be held to"),
        (Limit("rate", "step", 0.1, 1, "m/s", ""), "no room"),
        (Limit("position", "step", 5, 6, "m", ""), "no room"),
    ):
        with pytest.raises(LimitError, match=word):
            make(limit)
