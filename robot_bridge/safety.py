"""The client's last word: a pure state machine over the bridge's answers and its silence.

    HOLD ── answer(track) ──> TRACK ── silence ──> HOLD ── silence ──> DAMP ── silence ──> STOP
      ^                                                                                     │
      └──────────────────────────────── release (an operator) ──────────────────────────────┘

Silence runs from the first observation that has not been answered. A fresh answer leads back from
HOLD and DAMP; nothing but a release leads out of STOP, and not to motion: that takes a further
answer. No sockets and no clocks here: times are passed in [ns].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from robot_bridge.messages import Mode


@dataclass(frozen=True)
class Staleness:
    """Silence, in control periods, before each step down."""

    hold: int = 2  # one lost or late answer is ordinary jitter; a second in a row is not
    damp: int = 5  # a stiff hold against contact builds up force; soon after, let go
    stop: int = 10  # half a second at 20 Hz: whoever was deciding is gone

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
    """asked_ns: when the first unanswered observation was sent [ns], None if none is open.
    valid_until_ns: end of the last command's validity [ns]. active: within an episode."""

    mode: Mode = Mode.HOLD
    reason: str = "no episode"
    active: bool = False
    asked_ns: int | None = None
    valid_until_ns: int = 0


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
    """Stop and stay stopped: the bridge, the driver or a person says so."""

    reason: str


@dataclass(frozen=True)
class Release:
    """An operator allows motion again."""


Occurrence = Start | Finish | Asked | Answered | Tick | Violation | Halt | Release


def step(state: State, event: Occurrence, rules: Rules) -> State:
    """The state after one event; it is never milder than what the event allows."""
    if state.mode is Mode.STOP:
        if isinstance(event, Release):
            return replace(
                state, mode=Mode.HOLD, reason="released", asked_ns=None, valid_until_ns=0
            )
        return state
    match event:
        case Halt(reason):
            return replace(state, mode=Mode.STOP, reason=reason)
        case Start():
            return State(active=True, reason="no answer yet")
        case Finish():
            return State()
        case Release():
            return state
        case Violation(mode, reason):
            # Only ever stricter.
            return replace(state, mode=mode, reason=reason) if mode > state.mode else state
    if not state.active:
        return state
    match event:
        case Asked(now_ns):
            return state if state.asked_ns is not None else replace(state, asked_ns=now_ns)
        case Tick(now_ns):
            return _aged(state, now_ns, rules)
        case Answered(now_ns, mode, validity_ns):
            # An answer that comes too late does not undo the stop that was due before it.
            if _aged(state, now_ns, rules).mode is Mode.STOP:
                return _aged(state, now_ns, rules)
            reason = "" if mode is Mode.TRACK else "the bridge says so"
            return replace(
                state, mode=mode, reason=reason, asked_ns=None, valid_until_ns=now_ns + validity_ns
            )
    return state


def _aged(state: State, now_ns: int, rules: Rules) -> State:
    silence_ns = 0 if state.asked_ns is None else now_ns - state.asked_ns
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
        return replace(state, mode=due, reason=f"no answer for {periods:.1f} control periods")
    if state.mode is Mode.TRACK and now_ns > state.valid_until_ns:
        return replace(state, mode=Mode.HOLD, reason="the last command is no longer valid")
    return state
