"""McapRecorder writes all that explains a motion to MCAP files, without delaying the loop.

The loop only appends to a bounded queue, and a thread encodes and writes. Records that find the
queue full, or that the disk does not take, are counted and reported. See docs/recording.md.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.errors import described
from robot_bridge.recording.rotation import Parts, Rotation
from robot_bridge.recording.row_encoder import RowEncoder
from robot_bridge.recording.rows import EVENTS, LOG
from robot_bridge.system.idle_signal import IdleSignal
from robot_bridge.system.queues import drained
from robot_bridge.telemetry.records import (
    AdaptationRecord,
    EndRecord,
    EventRecord,
    StateRecord,
    StepRecord,
)

CAPACITY = 16384  # records: 8 s of one robot at 1 kHz; some 50 MB
# Between looks at the queue while no answers are sent [s].
POLL = 0.1
# The writer works for BITE, then sleeps for REST [s]. A thread that only releases the interpreter
# has taken it back before the loop wakes, so it must sleep.
BITE = 1e-4
REST = 5e-5
CLOSING = 10.0  # how long `close` waits for a slow disk [s]

Record = StepRecord | AdaptationRecord | StateRecord | EndRecord | EventRecord


class McapRecorder:
    """A `records.Recorder` that writes to new files in `folder`. path: of the first.

    capacity: records that may wait. Raises RecordingError when the first file cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        bundle: PolicyBundle,
        capacity: int = CAPACITY,
        rotation: Rotation | None = None,
    ) -> None:
        self._capacity = capacity
        # Emptied in the gaps between answers: a writer that every record wakes would take the
        # interpreter from the loop while it works.
        self._queue: deque[tuple[str, int, Record]] = deque()
        # Lost records take a number, too: a reader sees what is missing. There is one series for
        # all records of a robot that the loop makes, so each series is counted by one thread.
        self._numbers: dict[str, Iterator[int]] = {}
        self._dropping = threading.Lock()  # taken only by records that find the queue full
        self._dropped = 0
        self._troubles: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._closing = False
        self._gap = IdleSignal()
        self._rows = RowEncoder(bundle.manifest)
        self._parts = Parts(folder, bundle, rotation or Rotation(), self._tell)
        self.path = self._parts.path
        # By type of record: schema, encoder, and the record's time [ns].
        self._kinds: dict[type, tuple[str, Callable[[Any], bytes], Callable[[Any], int]]] = {
            StepRecord: ("acclimate.Step", self._rows.step, lambda r: r.received_ns),
            AdaptationRecord: ("acclimate.Adaptation", self._rows.adaptation, _time),
            StateRecord: ("acclimate.State", self._rows.state, _time),
            EndRecord: ("acclimate.End", self._rows.end, _time),
            EventRecord: ("acclimate.Event", self._rows.event, _time),
        }
        # A daemon thread: a disk that hangs must not prevent the process from ending.
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def step(self, record: StepRecord) -> None:
        self._put(record.robot, f"/{record.robot}/step", record)

    def adapted(self, record: AdaptationRecord) -> None:
        topic = f"/{record.robot}/adaptation"
        self._put(topic, topic, record)

    def state(self, record: StateRecord) -> None:
        self._put(record.robot, f"/{record.robot}/state", record)

    def ended(self, record: EndRecord) -> None:
        self._put(record.robot, f"/{record.robot}/end", record)

    def event(self, record: EventRecord) -> None:
        self._put(EVENTS, EVENTS, record)

    def gap(self) -> None:
        self._gap.open()

    def troubles(self) -> list[tuple[str, str]]:
        """(name, text): recording_failed, recording_resumed, recording_gap."""
        return drained(self._troubles)

    def close(self) -> None:
        """Write what is queued, then indexes and summary."""
        self._closing = True
        self._gap.open()
        self._thread.join(CLOSING)

    def _put(self, series: str, topic: str, record: Record) -> None:
        numbers = self._numbers.get(series)
        if numbers is None:
            numbers = self._numbers[series] = itertools.count()
        number = next(numbers)
        if len(self._queue) < self._capacity:
            self._queue.append((topic, number, record))
            return
        with self._dropping:
            self._dropped += 1

    def _tell(self, name: str, text: str) -> None:
        self._troubles.put((name, text))

    def _work(self) -> None:
        try:
            while not self._closing:
                self._gap.wait(POLL)
                self._drain()
                self._parts.tend()
            self._drain()
            self._parts.close()
        # After any exception the bridge goes on without a recording, and reports it.
        except Exception as error:
            self._capacity = 0
            self._queue.clear()
            self._tell("recording_failed", f"the recorder has ended: {described(error)}")

    def _drain(self) -> None:
        pause = time.perf_counter() + BITE
        while self._queue:
            self._write(*self._queue.popleft())
            if time.perf_counter() > pause:
                # Rows also reach the disk while a backlog is written.
                self._parts.tend()
                time.sleep(REST)
                pause = time.perf_counter() + BITE
        with self._dropping:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._parts.lost(dropped, "the disk was slower than the bridge")

    def _write(self, topic: str, number: int, record: Record) -> None:
        schema, encode, time_ns = self._kinds[type(record)]
        at_ns = time_ns(record)
        self._parts.write(topic, schema, at_ns, number, encode(record))
        if isinstance(record, EventRecord):
            data = self._rows.log(record, self._parts.wall(at_ns))
            self._parts.write(LOG, "foxglove.Log", at_ns, number, data)


def _time(record: AdaptationRecord | StateRecord | EndRecord | EventRecord) -> int:
    return record.time_ns
