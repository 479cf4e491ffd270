"""Turns what the bridge tells its taps into the rows of a recording."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.adapters.base import Transition
from adapt.bundle.manifest import Field, Manifest
from robot_bridge.recording.rows import (
    MALFORMED,
    AdaptationRow,
    EndRow,
    EventRow,
    Fields,
    StateRow,
    StepRow,
)
from robot_bridge.system.log import speakable
from robot_bridge.telemetry.records import (
    AdaptationRecord,
    EndRecord,
    EventRecord,
    StateRecord,
    StepRecord,
)


class _Time(msgspec.Struct, frozen=True):
    sec: int
    nsec: int


class _Log(msgspec.Struct, frozen=True):
    """foxglove.Log, which Foxglove's log panel shows."""

    timestamp: _Time
    level: int
    message: str
    name: str
    file: str = ""
    line: int = 0


class Rows:
    """Makes rows of one bundle's fields."""

    def __init__(self, manifest: Manifest) -> None:
        self._observation = _slices(manifest.observation)
        self._action = _slices(manifest.action)
        self._encoder = msgspec.json.Encoder()

    def step(self, record: StepRecord) -> bytes:
        wanted = record.wanted
        return self._encoder.encode(
            StepRow(
                sequence=record.sequence,
                robot_time_ns=record.robot_time_ns,
                received_ns=record.received_ns,
                decided_ns=record.decided_ns,
                sent_ns=record.sent_ns,
                answer_time=(record.sent_ns - record.received_ns) / 1e9,
                observation=_named(self._observation, record.observation),
                reward=record.reward,
                flags=record.flags,
                faults=record.faults,
                wanted=msgspec.UNSET if wanted is None else _named(self._action, wanted),
                command=_named(self._action, record.command),
                mode=record.mode.name,
                latent=record.latent.tolist(),
                belief_mean=record.belief_mean.tolist(),
                belief_variance=record.belief_variance.tolist(),
                belief_count=record.belief_count,
                belief_version=record.belief_version,
                latent_version=record.latent_version,
                digest=record.digest,
                shadow=record.shadow,
            )
        )

    def adaptation(self, record: AdaptationRecord) -> bytes:
        transition = record.transition
        return self._encoder.encode(
            AdaptationRow(
                time_ns=record.time_ns,
                waited_ns=record.waited_ns,
                took_ns=record.took_ns,
                belief_version=record.belief_version,
                problem=speakable(record.problem),
                transition=b"" if transition is None else _packed(transition),
                reward=0.0 if transition is None else transition.reward,
                terminal=transition is not None and transition.terminal,
                complete=record.complete,
                adapter=record.adapter,
            )
        )

    def state(self, record: StateRecord) -> bytes:
        return self._encoder.encode(
            StateRow(
                time_ns=record.time_ns,
                cause=record.cause,
                digest=record.digest,
                snapshot=record.snapshot,
                adapting=record.adapting,
                task=record.task,
                episode=record.episode,
                seed=record.seed,
                adapter=record.adapter,
            )
        )

    def end(self, record: EndRecord) -> bytes:
        outcome = record.outcome
        return self._encoder.encode(
            EndRow(
                time_ns=record.time_ns,
                task=record.task,
                episode=record.episode,
                success=outcome.success,
                steps=outcome.steps,
                duration=outcome.duration,
                reason=outcome.reason,
                measures=outcome.measures,
            )
        )

    def event(self, record: EventRecord) -> bytes:
        return self._encoder.encode(
            EventRow(record.time_ns, record.name, record.robot, speakable(record.text))
        )

    def log(self, record: EventRecord, wall_ns: int) -> bytes:
        """The same event for people. wall_ns: since 1970."""
        stamp = _Time(*divmod(wall_ns, 1_000_000_000))
        warning = 3
        return self._encoder.encode(
            _Log(stamp, warning, f"{record.name}: {speakable(record.text)}", record.robot)
        )


def _packed(transition: Transition) -> bytes:
    parts = (transition.observation, transition.action, transition.next_observation)
    return b"".join(np.asarray(part, "<f4").tobytes() for part in parts)


def _named(slices: dict[str, slice], values: npt.NDArray[np.float32]) -> Fields:
    listed = values.tolist()
    if slices and len(listed) != list(slices.values())[-1].stop:
        return {MALFORMED: listed}
    return {name: listed[where] for name, where in slices.items()}


def _slices(fields: Sequence[Field]) -> dict[str, slice]:
    slices: dict[str, slice] = {}
    start = 0
    for field in fields:
        slices[field.name] = slice(start, start + field.size)
        start += field.size
    return slices
