"""Encodes the records that the bridge tells its taps as rows of a recording."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from adapt.adapters.base import Transition
from adapt.bundle.fields import Field
from adapt.bundle.manifest import Manifest
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

WARNING = 3  # foxglove.Log's level


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


class RowEncoder:
    """Encodes records with the fields of one bundle. Fields that a record and its row share by name
    are copied."""

    def __init__(self, manifest: Manifest) -> None:
        self._observation = _slices(manifest.observation)
        self._action = _slices(manifest.action)
        self._encoder = msgspec.json.Encoder()

    def step(self, record: StepRecord) -> bytes:
        """A StepRow."""
        wanted = record.wanted
        fields = msgspec.structs.asdict(record)
        del fields["robot"], fields["simulated"]
        fields |= {
            "answer_time": (record.sent_ns - record.received_ns) / 1e9,
            "observation": _named(self._observation, record.observation),
            "wanted": msgspec.UNSET if wanted is None else _named(self._action, wanted),
            "command": _named(self._action, record.command),
            "mode": record.mode.name,
            "latent": record.latent.tolist(),
            "belief_mean": record.belief_mean.tolist(),
            "belief_variance": record.belief_variance.tolist(),
        }
        return self._encoder.encode(StepRow(**fields))

    def adaptation(self, record: AdaptationRecord) -> bytes:
        """An AdaptationRow."""
        learnt = record.transition
        return self._row(
            AdaptationRow,
            record,
            problem=speakable(record.problem),
            transition=b"" if learnt is None else _packed(learnt),
            reward=0.0 if learnt is None else learnt.reward,
            terminal=learnt is not None and learnt.terminal,
        )

    def state(self, record: StateRecord) -> bytes:
        """A StateRow."""
        return self._row(StateRow, record)

    def end(self, record: EndRecord) -> bytes:
        """An EndRow. Its schema is that of older recordings, so it does not say what judges."""
        outcome = msgspec.structs.asdict(record.outcome)
        del outcome["judged_by"]
        return self._row(EndRow, record, **outcome)

    def event(self, record: EventRecord) -> bytes:
        """An EventRow."""
        return self._row(EventRow, record, text=speakable(record.text))

    def _row(self, kind: type[msgspec.Struct], record: object, **changes: object) -> bytes:
        names = [name for name in kind.__struct_fields__ if name not in changes]
        return self._encoder.encode(kind(**{n: getattr(record, n) for n in names}, **changes))

    def log(self, record: EventRecord, wall_ns: int) -> bytes:
        """The same event as a foxglove.Log. wall_ns: since 1970."""
        stamp = _Time(*divmod(wall_ns, 1_000_000_000))
        message = f"{record.name}: {speakable(record.text)}"
        return self._encoder.encode(_Log(stamp, WARNING, message, record.robot))


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
