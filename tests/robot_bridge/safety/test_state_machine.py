"""Laws of the safety state machine: over random events, over all of its states, and as drawn."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_bridge.protocol.messages import Mode
from robot_bridge.safety.limits import RESPONSE
from robot_bridge.safety.state_machine import (
    Answered,
    Asked,
    Connected,
    Finish,
    Halt,
    Release,
    Reset,
    Rules,
    Staleness,
    Start,
    State,
    Stopped,
    Tick,
    Violation,
    step,
)
from tests.support.client import safety_model

PERIOD = 50_000_000
RULES = Rules(PERIOD)
# Times that jump back and forth: a state machine must not trust its caller's clock to be tidy.
TIMES = st.integers(0, 40 * PERIOD)
MODES = st.sampled_from(Mode)
NUMBERS = st.integers(0, 5)
EVENTS = st.one_of(
    st.builds(Connected, NUMBERS, NUMBERS, st.booleans()),
    st.builds(Reset),
    st.builds(Start),
    st.builds(Finish),
    st.builds(Asked, TIMES),
    st.builds(Answered, TIMES, st.sampled_from(Mode), st.integers(0, 3 * PERIOD)),
    st.builds(Tick, TIMES),
    st.builds(Violation, MODES, st.just("force")),
    st.builds(Halt, st.just("button")),
    st.builds(Stopped, NUMBERS, st.just("button")),
    st.builds(Release, NUMBERS, NUMBERS),
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
            assert event.stop >= before.stop
            assert event.latch >= before.latch
            assert after.mode is Mode.HOLD


@settings(max_examples=500)
@given(st.lists(EVENTS, max_size=40))
def test_motion_starts_only_with_an_answer_that_says_so_within_an_episode(events):
    for before, event, after in walk(events):
        if after.mode is Mode.TRACK and before.mode is not Mode.TRACK:
            assert isinstance(event, Answered)
            assert event.mode is Mode.TRACK
            assert before.mode is not Mode.STOP
            assert before.active
            assert before.asked_ns is not None


@given(st.lists(EVENTS, max_size=40))
def test_a_stop_stops_from_everywhere_and_outdates_every_release_before_it(events):
    for before, _, _ in walk(events):
        known = Release(before.stop, before.latch)
        for stop in (
            Halt("button"),
            Stopped(before.stop + 1, "button"),
            Violation(Mode.STOP, "force"),
        ):
            after = step(before, stop, RULES)
            assert after.mode is Mode.STOP
            if before.mode is not Mode.STOP or not isinstance(stop, Violation):
                assert step(after, known, RULES).mode is Mode.STOP
            numbers = Release(after.stop, after.latch)
            assert step(after, numbers, RULES).mode is Mode.HOLD


@given(st.lists(EVENTS, max_size=40))
def test_numbers_never_fall(events):
    for before, _, after in walk(events):
        assert (after.stop, after.latch) >= (before.stop, before.latch)
        assert after.latch >= before.latch


@settings(max_examples=500)
@given(st.lists(EVENTS, max_size=40))
def test_nothing_but_an_answer_a_reset_and_a_release_makes_it_milder(events):
    for before, event, after in walk(events):
        if not isinstance(event, Answered | Reset | Release):
            assert after.mode >= before.mode
        elif not isinstance(event, Answered) and after.mode < before.mode:
            assert after.mode is Mode.HOLD


@given(st.lists(EVENTS, max_size=40), TIMES, TIMES)
def test_longer_silence_is_never_milder(events, one, other):
    early, late = sorted((one, other))
    for _, _, state in walk(events):
        # From when it began; a clock that shows an earlier time went back.
        since = state.asked_ns or 0
        modes = [step(state, Tick(since + time), RULES).mode for time in (early, late)]
        assert modes == sorted(modes)


def test_a_clock_that_goes_back_before_the_answer_latches_the_stop():
    state = step(step(State(), Start(), RULES), Asked(PERIOD), RULES)
    for event in (Tick(PERIOD - 1), Answered(PERIOD - 1, Mode.TRACK, PERIOD)):
        after = step(state, event, RULES)
        assert (after.mode, after.latch) == (Mode.STOP, 1)
        assert "went back" in after.reason


@given(st.lists(EVENTS, max_size=40), MODES)
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


def test_a_robot_damped_at_an_episodes_end_stays_damped():
    state = step(State(), Start(), RULES)
    state = step(state, Violation(Mode.DAMP, "force"), RULES)
    for event in (Finish(), Start(), Finish(), Tick(0)):
        state = step(state, event, RULES)
        assert (state.mode, state.reason) == (Mode.DAMP, "force")
    assert step(state, Reset(), RULES).mode is Mode.HOLD


def test_an_answer_to_what_was_asked_before_a_release_is_no_leave_to_move():
    state = State()
    for event in (Start(), Asked(0), Halt("button"), Release(0, 1)):
        state = step(state, event, RULES)
    assert step(state, Answered(1, Mode.TRACK, PERIOD), RULES) == state


def test_no_state_leads_from_a_stop_to_motion_without_an_operator_who_knew_of_it():
    worlds, edges = set(), set()
    for world, move in safety_model.explore():
        worlds.add(world)
        before, after = world.state, move.after.state
        edges.add((before.mode, after.mode))
        if before.mode is Mode.STOP and after.mode is not Mode.STOP:
            assert move.name == "release"
            # Given by an operator who knew of every stop that there is.
            assert world.fresh
            assert after.mode is Mode.HOLD
        if after.mode is Mode.TRACK and before.mode is not Mode.TRACK:
            assert move.name == "answer TRACK"
            assert before.active
            assert before.asked_ns is not None
        if move.name in ("halt", "next stop", "same stop", "limit STOP"):
            assert after.mode is Mode.STOP
        if move.name == "tick" and before.active and before.mode is not Mode.STOP:
            assert after.mode >= due(before)
        if after.mode < before.mode:
            assert move.name.split()[0] in ("answer", "reset", "release")
    # All four modes, in an episode and between, at every age: the model is not empty by mistake.
    assert len(worlds) > 1000
    assert edges == drawn()


def due(state):
    """The mildest mode that the silence so far allows, by the page's own words."""
    if state.asked_ns is None:
        return Mode.TRACK
    periods = -state.asked_ns // safety_model.PERIOD
    return Mode(sum(periods >= limit for limit in (2, 5, 10)))


PAGE = (Path(__file__).resolve().parents[3] / "docs/safety.md").read_text(encoding="utf-8")


def drawn():
    """The arrows of the page's diagram, and that every mode can stay what it is."""
    arrows = re.findall(r"^    (\w+) --> (\w+):", PAGE, flags=re.MULTILINE)
    return {(Mode[one], Mode[other]) for one, other in arrows} | {(mode, mode) for mode in Mode}


LATE = {f"silence of {k} periods": Tick(k * PERIOD) for k in (1, 2, 5, 10)}
BY_PAGE = {
    **{f"answer {mode.name}": Answered(0, mode, PERIOD) for mode in Mode},
    **LATE,
    "validity over": Tick(4),
    "limit on position, workspace": Violation(Mode.HOLD, "x"),
    "limit on velocity, effort, force, rate": Violation(Mode.DAMP, "x"),
    "fault, the driver's `halt`, the bridge lost, closed or refusing": Halt("x"),
    "STOP, or a HEARTBEAT that tells of one": Stopped(8, "x"),
    "RELEASE that answers every stop": Release(7, 3),
    "RELEASE that answers fewer": Release(7, 2),
    "answer to nothing that was asked": None,
    "FIRST": Start(),
    "end of the episode": Finish(),
    "RESET": Reset(),
}


def test_the_table_of_the_page_is_what_the_code_does():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    head, *body = [row for row in rows if len(row) == 5]
    assert head == ["event", "in TRACK", "in HOLD", "in DAMP", "in STOP"]
    assert [row[0] for row in body] == list(BY_PAGE)
    for name, *cells in body:
        for mode, cell in zip(Mode, cells, strict=True):
            # Silence is counted with a command that is still good; validity, without any silence.
            valid = 3 if name == "validity over" else 100 * PERIOD
            asked = None if name in ("validity over", "answer to nothing that was asked") else 0
            state = State(mode, "x", True, asked, valid, stop=7, latch=3)
            event = BY_PAGE[name] or Answered(0, Mode.TRACK, PERIOD)
            assert step(state, event, RULES).mode is Mode[cell], (name, mode)


def test_the_page_names_the_quantities_that_hold_and_that_damp():
    for mode in (Mode.HOLD, Mode.DAMP):
        names = next(
            name.removeprefix("limit on ").split(", ")
            for name, event in BY_PAGE.items()
            if isinstance(event, Violation) and event.mode is mode
        )
        assert sorted(names) == sorted(name for name, does in RESPONSE.items() if does is mode)
