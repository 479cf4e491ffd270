"""What a bridge measures of itself, at a fraction of a microsecond a step.

The loop appends one tuple; a thread adds what has come to histograms and counters.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from operator import add

from robot_bridge.protocol.messages import Flag, Mode
from robot_bridge.protocol.operator_messages import StageStatus
from robot_bridge.system.idle_signal import IdleSignal
from robot_bridge.telemetry.histogram import Durations
from robot_bridge.telemetry.records import AdaptationRecord, ClockRecord, EventRecord, StepRecord

FOLD = 0.25  # between two foldings, at most [s]
# Answers that are added at once, in the gap after the last of them: some 50 us.
STRIDE = 8
TURNS = 120  # foldings in a while: `recent` covers the last 30 to 60 s
WAITING = 65_536  # records between two foldings: ten robots at 1 kHz need 2,500
# Robots choose their names and their events' names: both are bounded.
ROBOTS = 64
EVENTS = 128
FRACTIONS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

# Timed durations, and what they are.
STAGES = {
    "decide": "from a frame's arrival to the decision",
    "send": "from the decision to the answer's departure",
    "answer": "from a frame's arrival to the answer's departure",
    "jitter": "difference between two arrivals' distance and the control period, in real time",
    "adapt_wait": "of a transition in the queue of the adaptation",
    "adapt": "to learn from a transition",
}

_FIRST = int(Flag.FIRST)  # a Flag's own & takes microseconds

_Step = tuple[str, int, int, int, int, Mode, int, int, bool]


@dataclass(frozen=True)
class RobotReading:
    """One robot. connected: whether it is connected now. steps: observations answered, by mode."""

    connected: bool = False
    mode: str = ""
    steps: tuple[int, ...] = (0,) * len(Mode)
    belief_version: int = 0
    belief_count: int = 0
    clock_offset_ns: int | None = None
    round_trip_ns: int | None = None


@dataclass(frozen=True)
class StageReading:
    """One stage's durations. count, total_ns, quantiles_ns: since the start. recent_ns: quantiles
    of the last 30 to 60 s. below: how many lie at or below each edge."""

    count: int
    total_ns: int
    quantiles_ns: dict[str, int]
    recent_ns: dict[str, int]
    below: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """Everything at one moment. events: counts by name; problems: transitions not learnt from;
    dropped: records that found no room here."""

    stages: dict[str, StageReading]
    robots: dict[str, RobotReading]
    events: dict[str, int]
    learnt: int
    problems: int
    dropped: int


class Metrics:
    """A tap (see `records.Tap`).

    period: the control period that arrivals are compared with [s]. edges_ns: upper edges of the
    buckets of `StageReading.below`. fold: between foldings [s]; with None there is no thread, and
    the caller calls `fold`.
    """

    def __init__(
        self,
        period: float,
        edges_ns: tuple[int, ...] = (),
        fold: float | None = FOLD,
    ) -> None:
        self._period_ns = round(period * 1e9)
        self._edges_ns = edges_ns
        # Appending to a deque needs no lock; a full one drops its oldest entries.
        self._steps: deque[_Step] = deque(maxlen=WAITING)
        self._adaptations: deque[tuple[int, int, bool]] = deque(maxlen=WAITING)
        self._news: deque[Callable[[], None]] = deque(maxlen=WAITING)
        self._dropped = 0
        self._lock = threading.Lock()
        self._stages = {name: Durations() for name in STAGES}
        self._robots: OrderedDict[str, RobotReading] = OrderedDict()
        self._arrivals: dict[str, int] = {}
        self._events: Counter[str] = Counter()
        self._learnt = self._problems = self._folds = 0
        self._recent: dict[str, StageStatus] = {}  # as of the last folding
        self._folding: Iterator[None] | None = None
        self._closing = False
        self._gap = IdleSignal()
        self._thread: threading.Thread | None = None
        if fold is not None:
            self._thread = threading.Thread(
                target=self._work, args=(fold,), name="metrics", daemon=True
            )
            self._thread.start()

    def step(self, record: StepRecord) -> None:
        if len(self._steps) == WAITING:
            self._dropped += 1
        self._steps.append(
            (
                record.robot,
                record.received_ns,
                record.decided_ns,
                record.sent_ns,
                record.flags,
                record.mode,
                record.belief_version,
                record.belief_count,
                record.simulated,
            )
        )

    def adapted(self, record: AdaptationRecord) -> None:
        self._adaptations.append((record.waited_ns, record.took_ns, bool(record.problem)))

    def event(self, record: EventRecord) -> None:
        self._news.append(lambda: self._happened(record.name, record.robot))

    def clock(self, record: ClockRecord) -> None:
        self._news.append(
            lambda: self._know(
                record.robot,
                clock_offset_ns=record.offset_ns,
                round_trip_ns=record.round_trip_ns,
            )
        )

    def gap(self) -> None:
        if self._folding is not None or len(self._steps) >= STRIDE:
            self._gap.open()

    def close(self) -> None:
        """End the thread, and add what came until now."""
        self._closing = True
        self._gap.open()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None
        self.fold()

    def fold(self) -> None:
        """Add everything that has come."""
        deque(self._fold(), maxlen=0)

    def read(self) -> Reading:
        """Everything up to the last folding; for any thread, in half a millisecond."""
        with self._lock:
            return Reading(
                {name: self._stage(stage) for name, stage in self._stages.items()},
                dict(self._robots),
                dict(self._events),
                self._learnt,
                self._problems,
                self._dropped,
            )

    def stages(self) -> list[StageStatus]:
        """How long each stage took in the last 30 to 60 s, for a bridge's status; at once."""
        return [self._recent[name] for name in STAGES if name in self._recent]

    def _stage(self, stage: Durations) -> StageReading:
        fractions = list(FRACTIONS.values())
        return StageReading(
            stage.count,
            stage.total_ns,
            dict(zip(FRACTIONS, stage.quantiles(fractions), strict=True)),
            dict(zip(FRACTIONS, stage.quantiles(fractions, recent=True), strict=True)),
            tuple(stage.below(self._edges_ns)),
        )

    def _fold(self) -> Iterator[None]:
        """In pieces, each short enough for the gap between two answers at 500 Hz."""
        with self._lock:
            self._take()
            self._folds += 1
            if self._folds % TURNS == 0:
                for stage in self._stages.values():
                    stage.turn()
        for name, stage in self._stages.items():
            yield
            with self._lock:
                found, count = stage.quantiles(list(FRACTIONS.values()), recent=True), stage.count
            if count:
                self._recent[name] = StageStatus(name, count, *(value / 1e9 for value in found))

    def _take(self) -> None:
        for _ in range(len(self._news)):
            self._news.popleft()()
        self._fold_steps([self._steps.popleft() for _ in range(len(self._steps))])
        learnt = [self._adaptations.popleft() for _ in range(len(self._adaptations))]
        self._stages["adapt_wait"].add([waited_ns for waited_ns, _, _ in learnt])
        self._stages["adapt"].add([took_ns for _, took_ns, _ in learnt])
        problems = sum(problem for _, _, problem in learnt)
        self._problems += problems
        self._learnt += len(learnt) - problems

    def _fold_steps(self, steps: list[_Step]) -> None:
        if not steps:
            return
        self._stages["decide"].add([decided - received for _, received, decided, *_ in steps])
        self._stages["send"].add([sent - decided for _, _, decided, sent, *_ in steps])
        self._stages["answer"].add([sent - received for _, received, _, sent, *_ in steps])
        modes: dict[str, list[int]] = {}
        distances: list[int] = []
        for name, received_ns, _, _, flags, mode, _, _, simulated in steps:
            modes.setdefault(name, [0] * len(Mode))[mode] += 1
            before = self._arrivals.get(name)
            # Between two episodes, and in simulated time, a robot keeps no period.
            if before is not None and not flags & _FIRST and not simulated:
                distances.append(abs(received_ns - before - self._period_ns))
            self._arrivals[name] = received_ns
        self._stages["jitter"].add(distances)
        latest = {step[0]: step for step in steps}
        for name, (_, _, _, _, _, mode, version, count, _) in latest.items():
            counted = self._robots.get(name, RobotReading()).steps
            self._know(
                name,
                mode=mode.name.lower(),
                steps=tuple(map(add, counted, modes[name])),
                belief_version=version,
                belief_count=count,
            )

    def _happened(self, name: str, robot: str) -> None:
        # Names come from drivers, too.
        self._events[name if name in self._events or len(self._events) < EVENTS else "other"] += 1
        if name == "robot_connected":
            self._know(robot, connected=True)
        elif name in ("robot_left", "robot_lost"):
            self._know(robot, connected=False)

    def _know(self, robot: str, **changes: object) -> None:
        self._robots[robot] = replace(self._robots.get(robot, RobotReading()), **changes)
        self._robots.move_to_end(robot)
        if len(self._robots) > ROBOTS:
            gone, _ = self._robots.popitem(last=False)
            self._arrivals.pop(gone, None)

    def _work(self, pause: float) -> None:
        due = time.monotonic() + pause
        while not self._closing:
            in_gap = self._gap.wait(pause)
            now = time.monotonic()
            if self._folding is None and now >= due:
                due = now + pause
                self._folding = self._fold()
            if self._folding is None:
                with self._lock:
                    self._take()
            # Without answers there are no gaps, and no answer to delay.
            elif not in_gap or next(self._folding, self) is self:
                deque(self._folding, maxlen=0)
                self._folding = None
