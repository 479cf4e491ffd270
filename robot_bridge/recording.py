"""What a recording holds: its topics and the rows on them; `recording_schema` has the units.

Rows are JSON, so that `mcap cat`, Foxglove and a text tool read them without this project. Numbers
are written with as many digits as it takes to get the same bits back; null stands for one that is
not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.adapter import Transition
from adapt.manifest import Field, Manifest
from robot_bridge.messages import Numbers
from robot_bridge.tap import AdaptationRecord, EndRecord, EventRecord, StateRecord, StepRecord

FORMAT = "1"  # raised whenever a row of the old kind would be misread
PROFILE = ""  # of MCAP: none of the registered ones
LIBRARY = "acclimate"
ENCODING = "json"
METADATA = "acclimate"  # name of the metadata record at the start of every file
MANIFEST = "manifest.json"  # name of the attachment
EVENTS = "/events"
LOG = "/log"
LOSSES = "/recorder"
MALFORMED = "malformed"  # the field of an observation that has another size than the bundle's

Maybe = float | None
Fields = dict[str, list[Maybe]]


class StepRow(msgspec.Struct, frozen=True):
    """StepRecord as written. observation, wanted, command: numbers by field. answer_time [s]:
    from the observation's receipt until the command was sent."""

    sequence: int
    robot_time_ns: int
    received_ns: int
    decided_ns: int
    sent_ns: int
    answer_time: float
    observation: Fields
    reward: Maybe
    flags: int
    faults: int
    command: Fields
    mode: str
    latent: list[Maybe]
    belief_mean: list[Maybe]
    belief_variance: list[Maybe]
    belief_count: int
    belief_version: int
    latent_version: int
    digest: str
    shadow: bool
    wanted: Fields | msgspec.UnsetType = msgspec.UNSET


class AdaptationRow(msgspec.Struct, frozen=True):
    """AdaptationRecord as written. transition: observation (n_o,), action (n_a,), next observation
    (n_o,), float32, little-endian, one after another; empty when it is not known."""

    time_ns: int
    waited_ns: int
    took_ns: int
    belief_version: int
    problem: str
    transition: bytes
    reward: Maybe
    terminal: bool


class StateRow(msgspec.Struct, frozen=True):
    """StateRecord as written."""

    time_ns: int
    cause: str
    digest: str
    snapshot: bytes
    adapting: bool
    task: int
    episode: int
    seed: int


class EndRow(msgspec.Struct, frozen=True):
    """EndRecord as written. duration [s]."""

    time_ns: int
    task: int
    episode: int
    success: bool
    steps: int
    duration: float
    reason: str
    measures: Numbers


class EventRow(msgspec.Struct, frozen=True):
    """EventRecord as written."""

    time_ns: int
    name: str
    robot: str
    text: str


class LossRow(msgspec.Struct, frozen=True):
    """Records that were not written. lost: how many since the row before."""

    time_ns: int
    lost: int
    reason: str


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
                problem=record.problem,
                transition=b"" if transition is None else _packed(transition),
                reward=0.0 if transition is None else transition.reward,
                terminal=transition is not None and transition.terminal,
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
            EventRow(record.time_ns, record.name, record.robot, record.text)
        )

    def log(self, record: EventRecord, wall_ns: int) -> bytes:
        """The same event for people. wall_ns: since 1970."""
        stamp = _Time(*divmod(wall_ns, 1_000_000_000))
        warning = 3
        return self._encoder.encode(
            _Log(stamp, warning, f"{record.name}: {record.text}", record.robot)
        )


def encode_loss(row: LossRow) -> bytes:
    return msgspec.json.encode(row)


def numbers(values: Sequence[Maybe], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """The array (n,) behind a row's list; NaN where the number was not finite."""
    return np.array([np.nan if value is None else value for value in values], dtype)


def gathered(fields: Fields, order: Sequence[Field]) -> npt.NDArray[np.float32]:
    """The array (n,) behind a row's fields, in the bundle's order. Raises KeyError."""
    return numbers([value for field in order for value in fields[field.name]])


def unpacked(row: AdaptationRow, n_o: int, n_a: int) -> Transition:
    """Raises ValueError when the row holds no transition of n_o and n_a numbers."""
    flat = np.frombuffer(row.transition, "<f4").astype(np.float32)
    if flat.size != 2 * n_o + n_a:
        raise ValueError(f"transition of {flat.size} numbers; expected {2 * n_o + n_a}")
    reward = float("nan") if row.reward is None else row.reward
    return Transition(flat[:n_o], flat[n_o : n_o + n_a], reward, flat[n_o + n_a :], row.terminal)


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
