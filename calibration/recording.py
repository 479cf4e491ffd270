"""Calibration recordings: MCAP files of what the joints measured, at their own rate.

One JSON row per sample on the topic `/joints`; the file's metadata says which robot moved and what
it carried. docs/calibration.md describes the fields.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader

from adapt.errors import AcclimateError
from robot_bridge.recording.mcap_file import RecordingFile
from robot_bridge.recording.rows import METADATA

FORMAT = "calibration-1"
JOINTS_TOPIC = "/joints"
JOINTS_SCHEMA = "acclimate.calibration.Joints"
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


@dataclass(frozen=True)
class JointRecording:
    """T samples of the arm's joints; all arrays but `time` are (T, 6).

    name: for messages. time (T,) [s]. q, dq, torque, command: as in `JointRow`.
    digest: SHA-256 of the file, "" for one that is none.
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
        numbers = {"type": "array", "items": {"type": "number"}}
        fields: dict[str, Any] = {"time_ns": {"type": "integer", "description": "ns, monotonic"}}
        for key, text in (
            ("q", "rad, encoder readings"), ("dq", "rad/s"), ("torque", "N·m, of the drives"),
            ("command", "rad, target positions"),
        ):  # fmt: skip
            fields[key] = numbers | {"description": f"(6,) {text}"}
        schema = {"title": JOINTS_SCHEMA, "type": "object", "properties": fields}
        try:
            file = RecordingFile(
                path, {JOINTS_SCHEMA: schema}, {"format": FORMAT, "robot": robot}, {}
            )
            for k in range(len(self.time)):
                time_ns = round(self.time[k] * 1e9)
                row = JointRow(
                    time_ns, *(a[k].tolist() for a in (self.q, self.dq, self.torque, self.command))
                )
                file.write(JOINTS_TOPIC, JOINTS_SCHEMA, time_ns, k, msgspec.json.encode(row))
                if file.waiting >= FLUSH:
                    file.flush()
            file.finish()
        except OSError as error:
            raise CalibrationError(f"{path}: {error.strerror or error}") from error


def read_joints(path: Path) -> JointRecording:
    """Read a file of `JointRecording.save`. Raises CalibrationError for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CalibrationError(f"{path}: {error.strerror or error}") from error
    rows: list[JointRow] = []
    try:
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            about = {m.name: m.metadata for m in reader.iter_metadata()}.get(METADATA, {})
            if about.get("format") != FORMAT:
                raise CalibrationError(
                    f"{path}: format {about.get('format', 'unknown')}; expected a calibration "
                    f"recording of format {FORMAT}"
                )
            decoder = msgspec.json.Decoder(JointRow)
            for _, _, message in reader.iter_messages(topics=[JOINTS_TOPIC]):
                rows.append(decoder.decode(message.data))
    except (McapError, msgspec.DecodeError, ValueError, EOFError, RuntimeError) as error:
        raise CalibrationError(f"{path}: not a readable calibration recording: {error}") from error
    if not rows:
        raise CalibrationError(f"{path}: no samples on {JOINTS_TOPIC}")
    for k, row in enumerate(rows):
        sizes = {key: len(getattr(row, key)) for key in ("q", "dq", "torque", "command")}
        if set(sizes.values()) != {6}:
            raise CalibrationError(f"{path}: sample {k} has {sizes} numbers; expected 6 of each")
    q, dq, torque, command = (
        np.array([getattr(row, key) for row in rows]) for key in ("q", "dq", "torque", "command")
    )
    time = np.array([row.time_ns for row in rows]) * 1e-9
    return JointRecording(path.name, time, q, dq, torque, command, hashlib.sha256(data).hexdigest())
