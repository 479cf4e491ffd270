"""Calibration recordings: MCAP files of what the robot measured, at the joints' own rate.

Each row is JSON: on `/joints` one per sample of a motion, on `/poses` one per pose in which the arm
was held still. The file's metadata says which robot it was. docs/calibration.md has the fields.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader

from adapt.errors import AcclimateError
from robot_bridge.recording.mcap_file import RecordingFile
from robot_bridge.recording.rows import METADATA

FORMAT = "calibration-1"
FLUSH = 5000
"""Rows between writes to the disk."""


class CalibrationError(AcclimateError):
    """A recording, a setting or a robot with which nothing can be calibrated; the message says
    what was found, where, and what was expected."""


class JointRow(msgspec.Struct, frozen=True):
    """One sample. time_ns: the robot's monotonic clock. q: encoder readings [rad]; dq [rad/s];
    torque: of the drives [N·m]; command: target positions [rad] sent at that time."""

    time_ns: int
    q: list[float]
    dq: list[float]
    torque: list[float]
    command: list[float]


class PoseRow(msgspec.Struct, frozen=True):
    """One static pose. time_ns: its beginning, on the robot's monotonic clock. q: encoder readings
    [rad]; wrench: mean of the wrist sensor's force [N] and torque [N·m], in its own frame."""

    time_ns: int
    q: list[float]
    wrench: list[float]


Row = TypeVar("Row", JointRow, PoseRow)
TOPICS: dict[type, str] = {JointRow: "/joints", PoseRow: "/poses"}
UNITS = {"q": "rad", "dq": "rad/s", "torque": "N·m", "command": "rad", "wrench": "N, N·m"}


@dataclass(frozen=True)
class JointRecording:
    """T samples of n joints; all arrays but `time` are (T, n).

    name: for messages. time (T,) [s]. q, dq, torque, command: as in `JointRow`.
    digest: SHA-256 of the file; "" for a recording that has none.
    """

    name: str
    time: np.ndarray
    q: np.ndarray
    dq: np.ndarray
    torque: np.ndarray
    command: np.ndarray
    digest: str = ""

    def save(self, path: Path, robot: str) -> None:
        """Write to a new file. Raises CalibrationError where that fails."""
        columns = (a.tolist() for a in (self.q, self.dq, self.torque, self.command))
        times = (round(t * 1e9) for t in self.time.tolist())
        _write(path, robot, (JointRow(*row) for row in zip(times, *columns, strict=True)))


@dataclass(frozen=True)
class PoseRecording:
    """P static poses: encoder readings q (P, 6) [rad], mean wrench (P, 6) [N, N·m]."""

    name: str
    q: np.ndarray
    wrench: np.ndarray
    digest: str = ""

    def save(self, path: Path, robot: str) -> None:
        """Write to a new file. Raises CalibrationError where that fails."""
        columns = zip(self.q.tolist(), self.wrench.tolist(), strict=True)
        rows = (PoseRow(k * 1_000_000_000, *row) for k, row in enumerate(columns))
        _write(path, robot, rows)


def read_joints(path: Path) -> JointRecording:
    """Read a motion. Raises CalibrationError for anything but a recording of one."""
    rows, digest = _read(path, JointRow)
    time = np.array([row.time_ns for row in rows]) * 1e-9
    q, dq, torque, command = (
        np.array([getattr(row, key) for row in rows]) for key in ("q", "dq", "torque", "command")
    )
    return JointRecording(path.name, time, q, dq, torque, command, digest)


def read_poses(path: Path) -> PoseRecording:
    """Read static poses. Raises CalibrationError for anything but a recording of them."""
    rows, digest = _read(path, PoseRow)
    q, wrench = (np.array([getattr(row, key) for row in rows]) for key in ("q", "wrench"))
    return PoseRecording(path.name, q, wrench, digest)


def _write(path: Path, robot: str, rows: Iterable[JointRow | PoseRow]) -> None:
    file: RecordingFile | None = None
    try:
        for k, row in enumerate(rows):
            topic = TOPICS[type(row)]
            schema = f"acclimate.calibration.{type(row).__name__}"
            if file is None:
                about = {"format": FORMAT, "robot": robot}
                file = RecordingFile(path, {schema: _schema(schema, type(row))}, about, {})
            file.write(topic, schema, row.time_ns, k, msgspec.json.encode(row))
            if file.waiting >= FLUSH:
                file.flush()
        if file is not None:
            file.finish()
    except OSError as error:
        if file is not None:
            file.abandon()
        raise CalibrationError(f"{path}: {error.strerror or error}") from error


def _schema(name: str, kind: type[msgspec.Struct]) -> dict[str, Any]:
    fields: dict[str, Any] = {"time_ns": {"type": "integer", "description": "ns, monotonic"}}
    for key in kind.__struct_fields__[1:]:
        numbers = {"type": "array", "items": {"type": "number"}}
        fields[key] = numbers | {"description": f"(6,) {UNITS[key]}"}
    return {"title": name, "type": "object", "properties": fields}


def _read(path: Path, kind: type[Row]) -> tuple[list[Row], str]:
    """All rows of one kind, each of six numbers a field, and the file's SHA-256."""
    rows: list[Row] = []
    decoder = msgspec.json.Decoder(kind)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            about = {m.name: m.metadata for m in reader.iter_metadata()}.get(METADATA, {})
            if about.get("format") != FORMAT:
                raise CalibrationError(
                    f"{path}: format {about.get('format', 'unknown')}; expected a calibration "
                    f"recording of format {FORMAT}"
                )
            for _, _, message in reader.iter_messages(topics=[TOPICS[kind]]):
                rows.append(decoder.decode(message.data))
    except OSError as error:
        raise CalibrationError(f"{path}: {error.strerror or error}") from error
    except (McapError, msgspec.DecodeError, ValueError, EOFError, RuntimeError) as error:
        raise CalibrationError(f"{path}: not a readable calibration recording: {error}") from error
    if not rows:
        raise CalibrationError(f"{path}: nothing on {TOPICS[kind]}; expected {kind.__name__} rows")
    # A pose's wrench has six numbers, and so have the joints of an arm.
    expected = 6 if kind is PoseRow else len(rows[0].q)
    for k, row in enumerate(rows):
        sizes = {key: len(getattr(row, key)) for key in kind.__struct_fields__[1:]}
        if set(sizes.values()) != {expected}:
            raise CalibrationError(
                f"{path}: row {k} has {sizes} numbers; expected {expected} of each"
            )
    return rows, digest
