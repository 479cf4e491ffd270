"""Laws of the safety state machine, over random sequences of events."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_bridge.messages import Mode
from robot_bridge.safety import (
    Answered,
    Asked,
    Finish,
    Halt,
    Release,
    Rules,
    Staleness,
    Start,
    State,
    Tick,
    Violation,
    step,
)

PERIOD = 50_000_000
RULES = Rules(PERIOD)
# Times that jump back and forth: a state machine must not trust its caller's clock to be tidy.
TIMES = st.integers(0, 40 * PERIOD)
NOT_STOP = st.sampled_from([Mode.TRACK, Mode.HOLD, Mode.DAMP])
EVENTS = st.one_of(
    st.builds(Start),
    st.builds(Finish),
    st.builds(Asked, TIMES),
    st.builds(Answered, TIMES, st.sampled_from(Mode), st.integers(0, 3 * PERIOD)),
    st.builds(Tick, TIMES),
    st.builds(Violation, NOT_STOP, st.just("force")),
    st.builds(Halt, st.just("button")),
    st.builds(Release, st.integers(0, 5), st.integers(0, 5)),
)


def walk(events, state=None):
    """Every event with the states before and after it."""
    state = State() if state is None else state
    for event in events:
        after = step(state, event, RULES)
        yield state, event, after
        state = after


@settings(max_examples=500)
@given(st.lists(EVENTS, max_size=40))
def test_only_a_release_opens_the_latch_and_not_into_motion(events):
    for before, event, after in walk(events):
        if before.mode is Mode.STOP and after.mode is not Mode.STOP:
            assert isinstance(event, Release)
            assert after.mode is Mode.HOLD


@settings(max_examples=500)
@given(st.lists(EVENTS, max_size=40))
def test_motion_starts_only_with_an_answer_that_says_so_within_an_episode(events):
    for before, event, after in walk(events):
        if after.mode is Mode.TRACK and before.mode is not Mode.TRACK:
            assert isinstance(event, Answered)
            assert event.mode is Mode.TRACK
            assert before.active


@given(st.lists(EVENTS, max_size=40))
def test_a_halt_stops_from_everywhere(events):
    for before, _, _ in walk(events):
        assert step(before, Halt("button"), RULES).mode is Mode.STOP


@given(st.lists(EVENTS, max_size=40), TIMES, TIMES)
def test_longer_silence_is_never_milder(events, one, other):
    early, late = sorted((one, other))
    for _, _, state in walk(events):
        assert step(state, Tick(early), RULES).mode <= step(state, Tick(late), RULES).mode


@given(st.lists(EVENTS, max_size=40), NOT_STOP)
def test_a_violation_is_never_milder(events, mode):
    for _, _, state in walk(events):
        assert step(state, Violation(mode, "x"), RULES).mode == max(state.mode, mode)


def test_silence_leads_down_step_by_step():
    state = State()
    for event in (Start(), Asked(0), Answered(10, Mode.TRACK, 3 * PERIOD), Asked(PERIOD)):
        state = step(state, event, RULES)
    modes = [step(state, Tick(PERIOD + k * PERIOD), RULES).mode for k in range(12)]
    expected = [Mode.TRACK] * 2 + [Mode.HOLD] * 3 + [Mode.DAMP] * 5 + [Mode.STOP] * 2
    assert modes == expected


def test_an_answer_recovers_from_hold_and_damp_but_not_after_the_stop_was_due():
    answer = Mode.TRACK, 3 * PERIOD
    for periods, expected in ((2, Mode.TRACK), (9, Mode.TRACK), (10, Mode.STOP)):
        state = step(step(State(), Start(), RULES), Asked(0), RULES)
        assert step(state, Answered(periods * PERIOD, *answer), RULES).mode is expected


def test_an_expired_command_is_held_before_silence_counts():
    state = State()
    for event in (Start(), Asked(0), Answered(0, Mode.TRACK, PERIOD // 2)):
        state = step(state, event, RULES)
    assert step(state, Tick(PERIOD // 2), RULES).mode is Mode.TRACK
    assert step(state, Tick(PERIOD), RULES).mode is Mode.HOLD


def test_after_a_release_the_old_silence_is_forgotten():
    state = State()
    for event in (Start(), Asked(0), Tick(20 * PERIOD), Release(0, 1), Tick(21 * PERIOD)):
        state = step(state, event, RULES)
    assert (state.mode, state.active) == (Mode.HOLD, True)
    late = Answered(22 * PERIOD, Mode.TRACK, PERIOD)
    assert step(state, late, RULES).mode is Mode.HOLD
    state = step(state, Asked(22 * PERIOD), RULES)
    assert step(state, late, RULES).mode is Mode.TRACK


def test_steps_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="1 <= hold <= damp <= stop"):
        Staleness(hold=6)
