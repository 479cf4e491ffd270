"""Recordings for tests, made, read and rewritten without a bridge."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mcap.reader import make_reader
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from adapt.adapters.base import Transition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from robot_bridge.protocol.messages import Flag, Mode, Outcome
from robot_bridge.recording.writer import McapRecorder
from robot_bridge.safety.limits import Limits
from robot_bridge.telemetry.records import (
    AdaptationRecord,
    EndRecord,
    EventRecord,
    StateRecord,
    StepRecord,
)

PATIENCE = 30.0  # [s]


class Motion:
    """Plays episodes with an adapter, as a bridge does, and passes the rows to `tap`. lag: how many
    steps may pass between a belief's update and its row."""

    def __init__(self, bundle: PolicyBundle, tap: Any, robot: str = "arm", lag: int = 0) -> None:
        manifest = bundle.manifest
        self.bundle, self.tap, self.robot = bundle, tap, robot
        self.steps: list[StepRecord] = []
        self.lessons: list[AdaptationRecord] = []
        self.sequence = 0
        self._adapter = make_adapter(bundle, 3)
        self._limits = Limits(
            manifest.observation, manifest.action, manifest.limits, manifest.control_period
        )
        self._rng = np.random.default_rng(5)
        self._lag = lag
        self._late: list[AdaptationRecord] = []

    def episode(self, steps: int) -> None:
        """One episode of so many commands and a last observation."""
        adapter, now = self._adapter, time.monotonic_ns
        self.tap.state(
            StateRecord(
                self.robot, now(), "episode", self.bundle.digest, adapter.snapshot(), True, 4, 1, 9
            )
        )
        adapter.begin_episode()
        before = None
        for step in range(steps + 1):
            last = step == steps
            observation = self._rng.uniform(-9, 9, 6).astype(np.float32)
            if before is not None:
                self._learn(Transition(before[0], before[1], step / 7, observation, last))
            wanted = command = None
            if not last:
                action = adapter.act(observation)
                previous = before[2] if before is not None else None
                wanted, (command, _) = (
                    action.physical,
                    self._limits.clamp(action.physical, previous),
                )
                before = observation, self._limits.normalised(command), command
            flags = Flag.FIRST if step == 0 else Flag.LAST if last else Flag(0)
            self._tell(observation, step / 7, flags, wanted, command)
        while self._late:
            self.tap.adapted(self._late.pop(0))
        adapter.end_episode()
        self.tap.ended(
            EndRecord(self.robot, now(), 4, 1, Outcome(True, steps, 0.5, "done", {"depth": 0.01}))
        )

    def invalid(self) -> None:
        """An observation that is not finite; the robot is told to hold."""
        self._tell(np.array([np.nan, np.inf, 0, 0, 0, 0], np.float32), np.nan, Flag(0), None, None)

    def event(self, name: str, text: str) -> None:
        self.tap.event(EventRecord(time.monotonic_ns(), name, self.robot, text))

    def _learn(self, transition: Transition) -> None:
        version = self._adapter.observe(transition).version
        lesson = AdaptationRecord(self.robot, time.monotonic_ns(), 10, 20, version, "", transition)
        self.lessons.append(lesson)
        self._late.append(lesson)
        if len(self._late) > self._lag:
            self.tap.adapted(self._late.pop(0))

    def _tell(
        self, observation: Any, reward: float, flags: Flag, wanted: Any, command: Any
    ) -> None:
        adapter, belief, now = self._adapter, self._adapter.belief, time.monotonic_ns()
        self.sequence += 3
        record = StepRecord(
            robot=self.robot,
            sequence=self.sequence,
            robot_time_ns=self.sequence * 1000,
            received_ns=now,
            decided_ns=now + 1000,
            sent_ns=now + 2000,
            observation=observation,
            reward=reward,
            flags=int(flags),
            faults=0,
            wanted=wanted,
            command=np.zeros(3, np.float32) if command is None else command,
            mode=Mode.HOLD if command is None else Mode.TRACK,
            latent=adapter.latent,
            belief_mean=belief.mean,
            belief_variance=belief.variance,
            belief_count=belief.count,
            belief_version=belief.version,
            latent_version=adapter.latent_version,
            digest=self.bundle.digest,
            shadow=False,
        )
        self.steps.append(record)
        self.tap.step(record)


def record(bundle: PolicyBundle, folder: Path, lag: int = 0) -> Path:
    """Three episodes of 20 commands, and one invalid observation; returns the file."""
    recorder = McapRecorder(folder, bundle)
    motion = Motion(bundle, recorder, lag=lag)
    for _ in range(3):
        motion.episode(20)
        motion.invalid()
    recorder.close()
    return recorder.path


def rows(path: Path, topic: str) -> list[tuple[int, dict[str, Any]]]:
    """(number, row) on a topic of a finished file, by the official reader."""
    with path.open("rb") as file:
        return [
            (message.sequence, json.loads(message.data))
            for _, _, message in make_reader(file, validate_crcs=True).iter_messages(topic)
        ]


def salvage(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows by topic, read by the official stream reader until it finds no more."""
    found: dict[str, list[dict[str, Any]]] = {}
    channels: dict[int, str] = {}
    with path.open("rb") as file:
        try:
            for record in StreamReader(file, validate_crcs=True).records:
                if isinstance(record, Channel):
                    channels[record.id] = record.topic
                elif isinstance(record, Message):
                    found.setdefault(channels[record.channel_id], []).append(
                        json.loads(record.data)
                    )
        # A file without an end: EndOfFile between two records, anything within one.
        except Exception as error:
            found.setdefault("", []).append({"error": repr(error)})
    return found


def rewrite(source: Path, target: Path, change: Callable[[str, dict], list[dict]]) -> None:
    """The same recording with rows changed or left out, and checksums that fit, like a forgery."""
    with source.open("rb") as file:
        records = list(StreamReader(file).records)
    with target.open("wb") as file:
        writer = Writer(file, compression=CompressionType.LZ4)
        writer.start()
        for record in records:
            if type(record).__name__ == "Metadata":
                writer.add_metadata(record.name, record.metadata)  # pyright: ignore
        schemas: dict[int, int] = {}
        channels: dict[int, tuple[int, str]] = {}
        messages: list[tuple[int, Message, dict]] = []
        for record in records:
            if isinstance(record, Schema) and record.id not in schemas:
                schemas[record.id] = writer.register_schema(
                    record.name, record.encoding, record.data
                )
            elif isinstance(record, Channel) and record.id not in channels:
                number = writer.register_channel(record.topic, "json", schemas[record.schema_id])
                channels[record.id] = number, record.topic
            elif isinstance(record, Message):
                number, topic = channels[record.channel_id]
                for row in change(topic, json.loads(record.data)):
                    messages.append((number, record, row))
        for number, record, row in messages:
            writer.add_message(
                number,
                record.log_time,
                json.dumps(row).encode(),
                record.publish_time,
                record.sequence,
            )
        writer.finish()


def wait_for(condition: Callable[[], Any]) -> Any:
    """Poll until the condition holds; its value."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE:g} s")
        time.sleep(0.02)
    return value
