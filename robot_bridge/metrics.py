"""What a bridge measures of itself: a tap that costs the loop a fraction of a microsecond a step.

The loop appends one tuple; a thread of its own folds what has come into histograms and counters.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from robot_bridge.gap import Gap
from robot_bridge.histogram import Durations
from robot_bridge.messages import Flag, Mode
from robot_bridge.operator_messages import StageStatus
from robot_bridge.tap import AdaptationRecord, ClockRecord, EventRecord, StepRecord

FOLD = 0.25  # between two foldings, at most [s]
# Answers that are taken in at once, in the gap after the last of them: what is left for a folding
# then takes less than such a gap.
STRIDE = 16
TURNS = 120  # foldings in a while: `recent` covers the last 30 to 60 s
WAITING = 65_536  # records between two foldings: ten robots at 1 kHz need 2,500
# Names come from outside; a robot with a new name at every start must not grow this for ever.
ROBOTS = 64
EVENTS = 128
FRACTIONS = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}

# What is timed, and what it is.
STAGES = {
    "decide": "from a frame's arrival to the decision",
    "send": "from the decision to the answer's departure",
    "answer": "from a frame's arrival to the answer's departure",
    "jitter": "difference between two arrivals' distance and the control period",
    "adapt_wait": "of a transition in the queue of the adaptation",
    "adapt": "to learn from a transition",
}

_Step = tuple[str, int, int, int, int, Mode, int, int, int]


@dataclass(frozen=True)
class RobotReading:
    """What is known of one robot. connected: whether it is here now. steps: answered, by mode."""

    connected: bool = False
    mode: str = ""
    steps: tuple[int, ...] = (0,) * len(Mode)
    belief_version: int = 0
    belief_count: int = 0
    clock_offset_ns: int | None = None
    round_trip_ns: int | None = None


@dataclass(frozen=True)
class StageReading:
    """One stage's durations [ns]: since the start, and quantiles of the last while by name."""

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
    """A tap (see `tap.Tap`). period [s]: the control period that arrivals are compared with.

    edges_ns: upper edges of the buckets that a stage is counted in. fold: seconds between foldings;
    None starts no thread, and `fold` is the caller's to call.
    """

    def __init__(
        self,
        period: float,
        edges_ns: tuple[int, ...] = (),
        fold: float | None = FOLD,
    ) -> None:
        self._period_ns = round(period * 1e9)
        self._edges_ns = edges_ns
        # Appending to a deque needs no lock, and what is too much falls out at the other end.
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
        self.latest = self.read()  # as of the last folding; one reference, free to read
        self._closing = False
        self._gap = Gap()
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
                record.sequence,
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
        if len(self._steps) >= STRIDE:
            self._gap.open()

    def close(self) -> None:
        """End the thread; what came until now is folded in."""
        self._closing = True
        self._gap.open()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None
        self.fold()

    def fold(self) -> None:
        """Take in everything that has come."""
        with self._lock:
            self._take()
            self._folds += 1
            if self._folds % TURNS == 0:
                for stage in self._stages.values():
                    stage.turn()
        self.latest = self.read()

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
        return [
            StageStatus(name, stage.count, *(value / 1e9 for value in stage.recent_ns.values()))
            for name, stage in self.latest.stages.items()
            if stage.count
        ]

    def _stage(self, stage: Durations) -> StageReading:
        fractions = list(FRACTIONS.values())
        return StageReading(
            stage.count,
            stage.total_ns,
            dict(zip(FRACTIONS, stage.quantiles(fractions), strict=True)),
            dict(zip(FRACTIONS, stage.quantiles(fractions, recent=True), strict=True)),
            tuple(stage.below(self._edges_ns)),
        )

    def _take(self) -> None:
        for _ in range(len(self._news)):
            self._news.popleft()()
        self._fold_steps([self._steps.popleft() for _ in range(len(self._steps))])
        learnt = [self._adaptations.popleft() for _ in range(len(self._adaptations))]
        if learnt:
            rows = np.array(learnt, np.int64)
            self._stages["adapt_wait"].add(rows[:, 0])
            self._stages["adapt"].add(rows[:, 1])
            problems = int(rows[:, 2].sum())
            self._problems += problems
            self._learnt += len(rows) - problems

    def _fold_steps(self, steps: list[_Step]) -> None:
        if not steps:
            return
        rows = np.array([step[1:4] for step in steps], np.int64)
        received, decided, sent = rows.T
        self._stages["decide"].add(decided - received)
        self._stages["send"].add(sent - decided)
        self._stages["answer"].add(sent - received)
        modes: dict[str, Counter[Mode]] = {}
        distances: list[int] = []
        for name, received_ns, _, _, flags, mode, *_ in steps:
            modes.setdefault(name, Counter())[mode] += 1
            before = self._arrivals.get(name)
            if before is not None and not flags & Flag.FIRST:
                distances.append(received_ns - before)
            self._arrivals[name] = received_ns
        self._stages["jitter"].add(np.abs(np.array(distances, np.int64) - self._period_ns))
        latest = {step[0]: step for step in steps}
        for name, (_, _, _, _, _, mode, version, count, _) in latest.items():
            counted = self._robots.get(name, RobotReading()).steps
            self._know(
                name,
                mode=mode.name.lower(),
                steps=tuple(counted[which] + modes[name][which] for which in Mode),
                belief_version=version,
                belief_count=count,
            )

    def _happened(self, name: str, robot: str) -> None:
        # A driver names its own events.
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
            self._gap.wait(pause)
            now = time.monotonic()
            if now >= due:
                due = now + pause
                self.fold()
            else:
                with self._lock:
                    self._take()
