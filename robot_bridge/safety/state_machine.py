"""The client's safety: a pure state machine over the bridge's answers and its silence.

    HOLD ── answer(track) ──> TRACK ── silence ──> HOLD ── silence ──> DAMP ── silence ──> STOP
      ^                                                                                     │
      └──────────────────── release (an operator) that answers every stop ──────────────────┘

Silence runs from the first observation that has not been answered. A fresh answer leads back from
HOLD and DAMP; nothing but a release leads out of STOP, and not to motion: that takes a further
observation and its answer. No sockets and no clocks here: times are passed in [ns].

Stops have numbers, so that a release opens those that its operator knew of and no other: the
bridge's, and this robot's own, which count what only the robot can know (silence, faults, limits,
the driver's word, a stop as the answer).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from robot_bridge.protocol.messages import Mode


@dataclass(frozen=True)
class Staleness:
    """Silence, in control periods, before each step down."""

    hold: int = 2  # one lost or late answer is ordinary jitter; a second in a row is not
    damp: int = 5  # a stiff hold against contact builds up force; soon after, let go
    stop: int = 10  # half a second at 20 Hz: the bridge is gone

    def __post_init__(self) -> None:
        if not 1 <= self.hold <= self.damp <= self.stop:
            raise ValueError(
                f"staleness hold {self.hold}, damp {self.damp}, stop {self.stop}; "
                "expected 1 <= hold <= damp <= stop"
            )


@dataclass(frozen=True)
class Rules:
    """period_ns: the control period by which silence is counted [ns]."""

    period_ns: int
    staleness: Staleness = Staleness()


@dataclass(frozen=True)
class State:
    """What the robot may do, and why.

    active: within an episode. asked_ns: when the first unanswered observation was sent [ns], None
    if none is open. valid_until_ns: end of the last command's validity [ns]. stop: highest number
    of the bridge's stops. latch: count of the robot's own.
    """

    mode: Mode = Mode.HOLD
    reason: str = "no episode"
    active: bool = False
    asked_ns: int | None = None
    valid_until_ns: int = 0
    stop: int = 0
    latch: int = 0


@dataclass(frozen=True)
class Connected:
    """The bridge knows of these stops; stopped: some of them have not been released."""

    stop: int
    latch: int
    stopped: bool


@dataclass(frozen=True)
class Reset:
    """The driver takes over, to bring the robot to the start of an episode."""


@dataclass(frozen=True)
class Start:
    """An episode begins."""


@dataclass(frozen=True)
class Finish:
    """An episode is over."""


@dataclass(frozen=True)
class Asked:
    """An observation was sent at now_ns."""

    now_ns: int


@dataclass(frozen=True)
class Answered:
    """The bridge answered the latest observation at now_ns."""

    now_ns: int
    mode: Mode
    validity_ns: int


@dataclass(frozen=True)
class Tick:
    """Time has come to now_ns without an answer."""

    now_ns: int


@dataclass(frozen=True)
class Violation:
    """A limit is broken: at least `mode` until the next answer."""

    mode: Mode
    reason: str


@dataclass(frozen=True)
class Halt:
    """Stop and stay stopped: the driver says so, or the robot, or the bridge is lost."""

    reason: str


@dataclass(frozen=True)
class Stopped:
    """The bridge's stop of this number."""

    number: int
    reason: str


@dataclass(frozen=True)
class Release:
    """An operator who knows of these stops, and of none after them, allows motion again."""

    stop: int
    latch: int


Occurrence = (
    Connected
    | Reset
    | Start
    | Finish
    | Asked
    | Answered
    | Tick
    | Violation
    | Halt
    | Stopped
    | Release
)


def step(state: State, event: Occurrence, rules: Rules) -> State:
    """The state after one event; it is never milder than what the event allows."""
    match event:
        case Connected(stop, latch, stopped):
            known = replace(state, stop=max(state.stop, stop), latch=max(state.latch, latch))
            if not stopped:
                return known
            return replace(known, mode=Mode.STOP, reason="stopped before it connected")
        # Also while the stop is latched: the operator who releases it has to know of every one.
        case Halt(reason):
            return _latched(state, reason)
        case Stopped(number, reason):
            return replace(
                state, mode=Mode.STOP, reason=reason, stop=max(state.stop, number), asked_ns=None
            )
        case Release(stop, latch):
            return _released(state, stop, latch)
    if state.mode is Mode.STOP:
        return _closed(state, event)
    match event:
        case Violation(mode, reason):
            # Only ever stricter.
            if mode is Mode.STOP:
                return _latched(state, reason)
            return replace(state, mode=mode, reason=reason) if mode > state.mode else state
        case Reset():
            # The driver moves the robot by its own means, damped or not.
            return _still(state, Mode.HOLD, "the driver moves to the start", active=False)
        case Start():
            return _still(state, max(state.mode, Mode.HOLD), "no answer yet", active=True)
        case Finish():
            # A damped robot may be in contact; stiffness would press.
            return _still(state, max(state.mode, Mode.HOLD), "no episode", active=False)
    if not state.active:
        return state
    match event:
        case Asked(now_ns):
            return state if state.asked_ns is not None else replace(state, asked_ns=now_ns)
        case Tick(now_ns):
            return _aged(state, now_ns, rules)
        case Answered(now_ns, mode, validity_ns):
            return _answered(state, now_ns, mode, validity_ns, rules)
    return state


def _closed(state: State, event: Occurrence) -> State:
    """Within a latched stop, only the bookkeeping of episodes goes on."""
    match event:
        case Start():
            return replace(state, active=True, asked_ns=None)
        case Finish() | Reset():
            return replace(state, active=False, asked_ns=None)
    return state


def _answered(state: State, now_ns: int, mode: Mode, validity_ns: int, rules: Rules) -> State:
    if state.asked_ns is None:
        # An answer to what was asked before a release, or to nothing: no leave to move.
        return state
    aged = _aged(state, now_ns, rules)
    # An answer that comes too late does not undo the stop that was due before it.
    if aged.mode is Mode.STOP:
        return aged
    if mode is Mode.STOP:
        return _latched(state, "the bridge says so")
    reason = "" if mode is Mode.TRACK else "the bridge says so"
    return replace(
        state, mode=mode, reason=reason, asked_ns=None, valid_until_ns=now_ns + validity_ns
    )


def _latched(state: State, reason: str) -> State:
    return replace(state, mode=Mode.STOP, reason=reason, latch=state.latch + 1, asked_ns=None)


def _released(state: State, stop: int, latch: int) -> State:
    if state.mode is not Mode.STOP or stop < state.stop or latch < state.latch:
        return state
    return replace(state, mode=Mode.HOLD, reason="released", asked_ns=None, valid_until_ns=0)


def _still(state: State, mode: Mode, reason: str, active: bool) -> State:
    return replace(
        state,
        mode=mode,
        # A robot that stays damped keeps the reason for it.
        reason=state.reason if mode is Mode.DAMP else reason,
        active=active,
        asked_ns=None,
        valid_until_ns=0,
    )


def _aged(state: State, now_ns: int, rules: Rules) -> State:
    silence_ns = 0 if state.asked_ns is None else now_ns - state.asked_ns
    if silence_ns < 0:
        # Silence cannot be counted any more, and a command would stay valid for as long again.
        return _latched(state, f"the robot's clock went back by {-silence_ns / 1e9:.3g} s")
    periods = silence_ns / rules.period_ns
    due = Mode.TRACK
    for mode, limit in (
        (Mode.HOLD, rules.staleness.hold),
        (Mode.DAMP, rules.staleness.damp),
        (Mode.STOP, rules.staleness.stop),
    ):
        if periods >= limit:
            due = mode
    if due > state.mode:
        reason = f"no answer for {periods:.1f} control periods"
        if due is Mode.STOP:
            return _latched(state, reason)
        return replace(state, mode=due, reason=reason)
    if state.mode is Mode.TRACK and now_ns > state.valid_until_ns:
        return replace(state, mode=Mode.HOLD, reason="the last command is no longer valid")
    return state
