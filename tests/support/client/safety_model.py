"""Every state that a client's safety can reach, with an operator who may be slow or out of date.

Times are whole control periods, numbers are counted from what the operator knows, so that there are
few enough states to visit all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from robot_bridge.protocol.messages import Mode
from robot_bridge.safety.state_machine import (
    Answered,
    Asked,
    Connected,
    Finish,
    Halt,
    Occurrence,
    Release,
    Reset,
    Rules,
    Start,
    State,
    Stopped,
    Tick,
    Violation,
    step,
)

PERIOD = 1000  # [ns]
RULES = Rules(PERIOD)
STALE = RULES.staleness
# Beyond the last step down, more silence changes nothing.
OLDEST = STALE.stop + 1
VALIDITY = 3  # of a command [periods]
FAR = 3  # a number is so far ahead of the operator's at most; further is no different


@dataclass(frozen=True)
class World:
    """A client's state and what surrounds it.

    now is always 0: times in `state` are relative to it. known: the operator's (stop, latch), taken
    as (0, 0): the state's numbers are relative to it. answered: numbers of a release on its way, or
    None. fresh: whether nothing has stopped the robot since that release was given.
    """

    state: State
    answered: tuple[int, int] | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Move:
    """One step of the world: what happened, and which occurrence the client saw, if any."""

    name: str
    event: Occurrence | None
    after: World


def moves(world: World) -> Iterator[Move]:
    """Everything that can happen next."""
    state = world.state
    for name, event in (
        ("start", Start()),
        ("finish", Finish()),
        ("reset", Reset()),
        ("asked", Asked(0)),
        *((f"answer {mode.name}", Answered(0, mode, VALIDITY * PERIOD)) for mode in Mode),
        ("tick", Tick(0)),
        *((f"limit {mode.name}", Violation(mode, "x")) for mode in Mode),
        ("halt", Halt("x")),
        ("next stop", Stopped(state.stop + 1, "x")),
        ("same stop", Stopped(state.stop, "x")),
    ):
        yield Move(name, event, _after(world, event))
    aged = replace(
        state,
        asked_ns=None if state.asked_ns is None else state.asked_ns - PERIOD,
        valid_until_ns=state.valid_until_ns - PERIOD,
    )
    yield Move("a period", None, _tidy(replace(world, state=aged)))
    # The operator hears of everything; what was on its way then answers less than is known.
    heard = replace(state, stop=0, latch=0)
    old = world.answered
    answered = None if old is None else (old[0] - state.stop, old[1] - state.latch)
    yield Move("hears", None, _tidy(replace(world, state=heard, answered=answered)))
    # A release is given with what is known; whether that is all decides what it may open.
    given = replace(world, answered=(0, 0), fresh=(state.stop, state.latch) == (0, 0))
    yield Move("gives", None, given)
    if world.answered is not None:
        # It may arrive twice: it stays on its way.
        event = Release(*world.answered)
        yield Move("release", event, _after(world, event))


def _after(world: World, event: Occurrence) -> World:
    after = step(world.state, event, RULES)
    # Every new stop has a number of its own; a stop that is only said again is the one it was.
    new = (after.stop, after.latch) != (world.state.stop, world.state.latch)
    return _tidy(replace(world, state=after, fresh=world.fresh and not new))


def _tidy(world: World) -> World:
    """The same world without the values that make no difference."""
    state, answered = world.state, world.answered
    asked = None if state.asked_ns is None else max(state.asked_ns, -OLDEST * PERIOD)
    state = replace(
        state,
        reason="",
        asked_ns=asked,
        valid_until_ns=min(max(state.valid_until_ns, -PERIOD), VALIDITY * PERIOD),
        stop=min(state.stop, FAR),
        latch=min(state.latch, FAR),
    )
    if answered is not None:
        answered = (max(answered[0], -FAR), max(answered[1], -FAR))
    return replace(world, state=state, answered=answered)


def explore() -> Iterator[tuple[World, Move]]:
    """Every world that can be, once, with every move from it."""
    first = World(State())
    # As welcomed by a bridge that knows of three stops, and of one by the robot itself.
    joined = step(State(), Connected(3, 1, stopped=True), RULES)
    seen = {first, _tidy(World(joined))}
    waiting = deque(seen)
    while waiting:
        world = waiting.popleft()
        for move in moves(world):
            yield world, move
            if move.after not in seen:
                seen.add(move.after)
                waiting.append(move.after)
