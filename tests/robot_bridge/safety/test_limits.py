"""Commands never leave their margins; measurements outside theirs are named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adapt.bundle.fields import ActionField, Field, Limit
from adapt.bundle.layout import ActionMap
from robot_bridge.errors import LimitError
from robot_bridge.protocol.messages import Mode
from robot_bridge.safety.limits import Limits

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
        # Where none came before, the robot stood still.
        still = np.zeros(3, np.float32) if before is None else before
        change = (within - still)[:2].astype(np.float64) / PERIOD
        assert np.all(change <= 0.02 + 1e-6)
        assert np.all(change >= -0.01 - 1e-6)
        again, names = limits.clamp(within, before)
        np.testing.assert_array_equal(again, within)
        assert names == ()
        before = within


@given(arrays(np.float32, 2, elements=st.floats(-1, 1, width=32)))
def test_a_command_about_an_offset_is_clamped_there_and_turned_back(normalised):
    knee = [ActionField("knee", (2,), "rad", 1.0, 2.0, 0.25, 1.5)]
    limits = Limits(SEEN, knee, [Limit("rate", "knee", -2.0, 2.0, "rad/s", "gears")], PERIOD)
    asked = ActionMap(knee).physical(normalised)
    np.testing.assert_allclose(limits.normalised(asked), normalised, atol=1e-6)
    within, _ = limits.clamp(asked, asked)
    np.testing.assert_array_equal(within, asked)
    # Where none came before, the robot stood still at the offset.
    within, _ = limits.clamp(asked, None)
    assert (np.abs(within - 1.5) <= 0.1 + 1e-6).all()


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
    assert text == "not finite: wrench[1] is nan N; expected -100 to 100"
    assert "too few numbers: 4; the bundle's fields have 5" in make().invalid(
        np.zeros(4, np.float32)
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_no_bounds_are_so_wide_that_a_reading_need_not_be_finite(value):
    limits = Limits([Field("wide", (2,), "m", -1e300, 1e300)], ACTED, [], PERIOD)
    most = np.finfo(np.float32).max
    ends = np.array([most, -most], np.float32)
    assert limits.sound(ends) and limits.invalid(ends) == ""
    seen = np.array([0.0, value], np.float32)
    assert not limits.sound(seen)
    assert limits.invalid(seen).startswith(f"not finite: wide[1] is {value} m")


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


@given(
    arrays(np.float32, 5, elements=st.floats(-50, 50, width=32)),
    arrays(np.float32, 5, elements=st.floats(-50, 50, width=32)),
)
def test_a_measurement_is_judged_by_every_margin_and_by_its_change(before, observation):
    jump = Limit("rate", "wrench", -200.0, 400.0, "N/s", "an impact", [0, 2])
    limits = make(SPACE, Limit("force", "wrench", -20.0, 20.0, "N", "the pins bend", [1]), jump)
    change = (observation - before) / np.float32(PERIOD)
    wrong = {
        Mode.DAMP: abs(observation[3]) > 20
        or bool(np.any((change[[2, 4]] < -200) | (change[[2, 4]] > 400))),
        Mode.HOLD: bool(np.any(np.abs(observation[:2]) > 0.5)),
    }
    due = max((mode for mode, is_due in wrong.items() if is_due), default=None)
    found = limits.broken(observation, before)
    assert (found[0] if found else None) == due
    alone = limits.broken(observation)
    assert (alone is not None) == (abs(observation[3]) > 20 or wrong[Mode.HOLD])


def test_a_jump_is_named_in_its_own_unit():
    limits = make(Limit("rate", "wrench", -200.0, 400.0, "N/s", "an impact", [2]))
    still, hit = np.zeros(5, np.float32), np.array([0, 0, 0, 0, 30], np.float32)
    assert limits.broken(hit, still) == (
        Mode.DAMP,
        "rate wrench is 600 N/s; the limit is -200 to 400 (an impact)",
    )


def test_elements_bound_what_they_name_and_nothing_else():
    limits = make(Limit("position", "step", -0.0005, 0.0005, "m", "a thin wall", [1]))
    within, names = limits.clamp(np.array([0.001, 0.001, 0], np.float32), None)
    np.testing.assert_allclose(within, [0.001, 0.0005, 0])
    assert names == ("step",)


@given(arrays(np.float32, 5, elements=st.floats(width=32)))
def test_an_observation_breaks_nothing_exactly_within_its_margins(observation):
    low = np.array([-0.5, -0.5, -20, -20, -20], np.float32)
    inside = bool(np.all((observation >= low) & (observation <= -low)))
    assert (make(SPACE, FORCE).broken(observation) is None) is inside


def test_limits_that_cannot_be_kept_are_refused():
    for limit, word in (
        (Limit("force", "torque", -1, 1, "N", ""), "there are tip, wrench, step, yaw"),
        (Limit("rate", "wrench", 1, 2, "N/s", ""), "no room"),
        (Limit("rate", "step", 0.1, 1, "m/s", ""), "no room"),
        (Limit("position", "step", 5, 6, "m", ""), "no room"),
        (Limit("force", "wrench", -1, 1, "N", "", [3]), "element 3; it has 3"),
    ):
        with pytest.raises(LimitError, match=word):
            make(limit)
    # Infinite in float32: every command would be within the limit.
    boundless = [ActionField("step", (2,), "m", -1e300, 1e300, 1e300)]
    with pytest.raises(LimitError, match=r"'step' without a bound: scale inf, .* at most 3\.4"):
        Limits(SEEN, boundless, [], PERIOD)
    tightened = Limit("position", "step", -1.0, 1.0, "m", "")
    with pytest.raises(LimitError, match="'step' without a bound"):
        Limits(SEEN, boundless, [tightened], PERIOD)
    # A rate counts from the offset, so that the first command could be none at all.
    with pytest.raises(LimitError, match="'step' no room: its rate counts from its offset 0"):
        make(RATE, Limit("position", "step", 0.0005, 0.001, "m", ""))


@given(st.lists(st.tuples(COMMANDS, st.floats(1e-6, 1.0)), min_size=1, max_size=20))
def test_commands_that_come_early_change_by_what_the_time_allows(commands):
    limits, before, elapsed = make(RATE), np.zeros(3, np.float32), 0.0
    for command, allowed in commands:
        before, _ = limits.clamp(command, before, allowed)
        elapsed += allowed * PERIOD
        assert np.isfinite(before).all()
        assert -0.01 * elapsed - 1e-6 <= before[0] <= 0.02 * elapsed + 1e-6


def test_a_change_is_divided_by_the_time_that_it_took():
    limits = make(Limit("rate", "wrench", -100.0, 100.0, "N/s", "an impact"))
    before, seen = np.zeros(5, np.float32), np.array([0, 0, 8, 0, 0], np.float32)
    half = seen * np.float32(0.5)
    for change, elapsed, expected in ((seen, 1.0, "160"), (half, 0.5, "160"), (half, 0.6, "133")):
        found = limits.broken(change, before, elapsed)
        assert found is not None and found[0] is Mode.DAMP and expected in found[1]
    assert limits.broken(seen, before, 1.9) is None
    assert limits.broken(half, before) is None


NEAR = arrays(np.float32, 5, elements=st.floats(-25, 25, width=32) | st.just(np.nan))
CHANGE = arrays(np.float32, 5, elements=st.floats(-6, 6, width=32))


@given(NEAR | NEAR.map(lambda seen: seen / 50), st.none() | CHANGE, st.floats(0.5, 2.0))
def test_one_pass_agrees_with_every_question_of_its_own(observation, change, elapsed):
    limits = make(FORCE, SPACE, Limit("rate", "wrench", -100.0, 100.0, "N/s", "an impact"))
    before = None if change is None else observation - change
    if before is not None and limits.invalid(before):
        before = None
    fine = not limits.invalid(observation) and limits.broken(observation, before, elapsed) is None
    assert limits.sound(observation, before, elapsed) == fine
    assert not limits.sound(observation[:4])


def test_one_pass_divides_a_change_by_the_time_that_it_took():
    limits = make(Limit("rate", "wrench", -100.0, 100.0, "N/s", "an impact"))
    before, seen = np.zeros(5, np.float32), np.array([0, 0, 8, 0, 0], np.float32)
    assert [limits.sound(seen, before, elapsed) for elapsed in (1.0, 1.9)] == [False, True]


@pytest.mark.parametrize("side", [0, 1])
def test_a_confined_observation_is_inside_to_the_last_bit(side):
    limits, bounds = make(), (np.full(5, -0.1), np.array([0.1, 0.3, 1 / 3, 0.7, 0.9]))
    limits.confine(*bounds)
    for index in range(5):
        nearest = np.float32(bounds[side][index])
        for value in (np.nextafter(nearest, -np.inf), nearest, np.nextafter(nearest, np.inf)):
            observation = np.zeros(5, np.float32)
            observation[index] = value
            inside = bounds[0][index] <= float(value) <= bounds[1][index]
            assert limits.sound(observation) == inside
