"""The C++ client's state machine answers as the Python one does."""

from dataclasses import replace

import numpy as np

from robot_bridge.protocol.messages import (
    Mode,
)
from robot_bridge.safety import state_machine as safety
from tests.support.client import cpp_client, safety_model

PERIOD = safety_model.PERIOD
RULES = safety_model.RULES


def line(event):
    """An event as the probe reads it."""
    parts = [value if isinstance(value, str) else str(int(value)) for value in vars(event).values()]
    return " ".join([type(event).__name__.lower(), *parts])


def shown(state):
    asked = "-" if state.asked_ns is None else state.asked_ns
    return (
        f"{int(state.mode)} {int(state.active)} {asked} {state.valid_until_ns} {state.stop} "
        f"{state.latch} {state.reason}"
    )


def test_the_state_machines_agree_in_every_state_that_can_be_reached(probe):
    lines = ["rules {} {} {} {}".format(PERIOD, *vars(RULES.staleness).values())]
    expected = [shown(safety.State())]
    for world, move in safety_model.explore():
        if move.event is None:
            continue
        state, event = lifted(world.state), lifted(move.event)
        lines += [f"state {shown(state)}", line(event)]
        expected += [shown(state), shown(safety.step(state, event, RULES))]
    assert len(lines) > 20_000
    cpp_client.agree(probe, lines, expected)


def lifted(thing):
    """The model counts from what its operator knows, and so below 0, which nothing on a wire is."""
    numbers = {"stop", "latch", "number"} & vars(thing).keys()
    return replace(thing, **{name: getattr(thing, name) + 10 for name in numbers})


def test_the_state_machines_agree_over_long_walks(probe):
    rng = np.random.default_rng(0)
    lines, expected = [], []
    for _ in range(200):
        period = int(rng.integers(1, 10**8))
        stale = safety.Staleness(*(int(k) for k in np.sort(rng.integers(1, 9, 3))))
        rules, state = safety.Rules(period, stale), safety.State()
        lines.append("rules {} {} {} {}".format(period, *vars(stale).values()))
        expected.append(shown(state))
        # From somewhere late in a machine's life, forwards and sometimes backwards.
        now = int(rng.integers(0, 2**52))
        for _ in range(100):
            now = max(0, now + int(rng.integers(-period, 3 * period)))
            event = draw(rng, now, period, state)
            state = safety.step(state, event, rules)
            lines.append(line(event))
            expected.append(shown(state))
    cpp_client.agree(probe, lines, expected)


def draw(rng, now, period, state):
    mode = Mode(int(rng.choice(4, p=(0.7, 0.1, 0.1, 0.1))))
    one, other = (int(k) for k in rng.integers(0, 4, 2))
    events = {
        safety.Asked(now): 5,
        safety.Answered(now, mode, int(rng.integers(0, 5 * period))): 5,
        safety.Tick(now): 3,
        safety.Start(): 2,
        safety.Finish(): 1,
        safety.Reset(): 1,
        safety.Violation(mode, "force is 7"): 1,
        safety.Halt("the driver says so"): 0.3,
        safety.Stopped(state.stop + one - 1 if state.stop else one, "button"): 0.3,
        safety.Connected(one, other, one == 3): 0.2,
        safety.Release(max(0, state.stop + one - 1), max(0, state.latch + other - 1)): 2,
    }
    chances = np.array(list(events.values()))
    return list(events)[rng.choice(len(chances), p=chances / chances.sum())]


def test_a_validity_without_end_does_not_wrap_into_the_past(probe):
    lines = ["rules 1000 2 5 10", "start", "asked 5", f"answered 6 0 {2**63 - 1}", f"tick {2**62}"]
    assert cpp_client.ask(probe, lines)[-1].split()[0] == "0"
