"""Feeds a robot's adapter: on a thread beside the control path, or in step with simulated time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from adapt.adapters.base import Adapter, Transition
from adapt.belief.gaussian import Belief
from adapt.errors import AcclimateError
from robot_bridge.errors import described
from robot_bridge.system.queues import drained
from robot_bridge.system.realtime import roam
from robot_bridge.telemetry.records import AdaptationRecord

# 12 s at 20 Hz; a worker so far behind will not catch up.
CAPACITY = 256
# A lesson leaves a loop at 1 kHz in time for the next answer if it is no longer than this [ns].
SHORT_NS = 400_000
# Robots take turns in learning; one that takes longer than this hangs, and is not waited for [s].
TURN = 0.05
# Of some REMEMBERED lessons more than half longer than that: the next AWAY are the worker's.
REMEMBERED = 64
AWAY = 10_000


class _Turns:
    """One worker learns at a time: each further one that wants the interpreter would delay the loop
    whenever that gives it up to send or receive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for one's turn."""
        lock = self._lock
        while not lock.acquire(timeout=TURN):
            # The one that holds it may hang for ever; the others go on with a new one.
            if self._lock is lock:
                self._lock = threading.Lock()
            lock = self._lock
        try:
            yield
        finally:
            lock.release()


_TURNS = _Turns()


@dataclass(frozen=True)
class _Lesson:
    """transition: None for the end of an episode. complete: whether nothing of the episode was
    lost. handed_ns: when it was handed over."""

    adapter: Adapter
    transition: Transition | None
    complete: bool
    handed_ns: int


class AdaptationWorker:
    """Feeds transitions to an adapter, and the ends of episodes. threaded: on a worker, unless
    `learn` is told otherwise; without one within `learn` and `conclude`.

    Neither waits. `settled` says that everything handed over has been learnt from. robot: its name.
    told, learnt: called with a record of every lesson, and with every new belief, on the thread
    that learnt from it.
    """

    def __init__(
        self,
        threaded: bool,
        capacity: int = CAPACITY,
        robot: str = "",
        told: Callable[[AdaptationRecord], None] | None = None,
        learnt: Callable[[Belief], None] | None = None,
    ) -> None:
        self._robot = robot
        self._told = told
        self._learnt = learnt
        self._capacity = capacity
        # Not bounded itself: the end of an episode must find room.
        self._waiting: queue.Queue[_Lesson | None] = queue.Queue()
        self._dropped = False  # whether the present episode has lost a transition
        self._problems: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._long = 0.0  # share of the lessons within `learn` that were not short
        self._away = 0  # lessons that are the worker's before the next within `learn`
        self._worker: threading.Thread | None = None
        if threaded:
            # A daemon thread: a hanging encoder must not keep the process from ending.
            self._worker = threading.Thread(target=self._work, name="adaptation", daemon=True)
            self._worker.start()

    def learn(self, adapter: Adapter, transition: Transition, here: bool = False) -> None:
        """Hand one transition over; one that finds no room is lost, and reported. here: learn from
        it within this call, where nothing waits before it and that is usually short."""
        lesson = _Lesson(adapter, transition, True, time.monotonic_ns())
        if self._worker is None:
            self._take(lesson)
        elif here and self._may_stay():
            self._take(lesson)
            self._judge(time.monotonic_ns() - lesson.handed_ns)
        elif self._waiting.qsize() < self._capacity:
            self._waiting.put(lesson)
        else:
            self._dropped = True
            text = f"adaptation is {self._capacity} transitions behind; one was dropped"
            self._problems.put(text)
            if self._told is not None:
                now_ns, version = lesson.handed_ns, adapter.belief.version
                self._told(AdaptationRecord(self._robot, now_ns, 0, 0, version, text, transition))

    def conclude(self, adapter: Adapter, complete: bool) -> None:
        """The episode has had its last transition. complete: False when it was cut."""
        lesson = _Lesson(adapter, None, complete and not self._dropped, time.monotonic_ns())
        self._dropped = False
        if self._worker is None:
            self._take(lesson)
        else:
            self._waiting.put(lesson)

    @property
    def settled(self) -> bool:
        return self._waiting.unfinished_tasks == 0

    @property
    def waiting(self) -> int:
        """Transitions that have not been learnt from yet."""
        return self._waiting.unfinished_tasks

    def problems(self) -> list[str]:
        """What went wrong since the last call."""
        return drained(self._problems)

    def close(self) -> None:
        """Drop what waits and let the worker end, without waiting for it: one that hangs in an
        encoder must not keep the loop from other robots. See `join`."""
        if self._worker is None:
            return
        while True:
            try:
                self._waiting.get_nowait()
                self._waiting.task_done()
            except queue.Empty:
                break
        self._waiting.put_nowait(None)

    def join(self, timeout: float) -> None:
        """After `close`: wait for the worker, at most timeout [s]."""
        if self._worker is not None:
            self._worker.join(timeout)

    def _may_stay(self) -> bool:
        if self._away:
            self._away -= 1
            return False
        # After what the worker still has.
        return self.settled

    def _judge(self, took_ns: int) -> None:
        # By how many were long, not by how long: the system may have interrupted one of them.
        self._long += ((took_ns > SHORT_NS) - self._long) / REMEMBERED
        if self._long > 0.5:
            self._long, self._away = 0.0, AWAY

    def _take(self, lesson: _Lesson) -> None:
        begun_ns = time.monotonic_ns()
        adapter, transition = lesson.adapter, lesson.transition
        what = "episode" if transition is None else "transition"
        text, belief = "", adapter.belief
        try:
            if transition is None:
                belief = adapter.conclude(lesson.complete)
            else:
                belief = adapter.observe(transition)
            if self._learnt is not None:
                self._learnt(belief)
        except AcclimateError as error:
            # The belief is as before; the robot goes on with it.
            text = f"nothing learnt from one {what}: {error}"
        # Any fault: the control path goes on without adaptation, and the problem is told.
        except Exception as error:
            text = f"adaptation failed: {described(error)}"
        if text:
            self._problems.put(text)
        if self._told is not None:
            now_ns = time.monotonic_ns()
            waited_ns, took_ns = begun_ns - lesson.handed_ns, now_ns - begun_ns
            self._told(
                AdaptationRecord(
                    self._robot,
                    now_ns,
                    waited_ns,
                    took_ns,
                    # Of what this lesson made; the adapter may have another belief by now.
                    belief.version,
                    text,
                    transition,
                    lesson.complete,
                    id(adapter),
                )
            )

    def _work(self) -> None:
        # Started by the loop, it leaves the loop's core.
        roam()
        while True:
            item = self._waiting.get()
            try:
                if item is None:
                    return
                with _TURNS.one():
                    self._take(item)
            finally:
                self._waiting.task_done()
