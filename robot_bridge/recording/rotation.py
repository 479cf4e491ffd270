"""The files of one recording: a new one begins after a certain size or age, or after a fault."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from adapt.bundle.manifest import encode_manifest
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.inference.session import ONNXRUNTIME
from robot_bridge.errors import RecordingError
from robot_bridge.recording.json_schema import schemas
from robot_bridge.recording.mcap_file import RecordingFile
from robot_bridge.recording.rows import FORMAT, LOSSES, MANIFEST, LossRow, encode_loss

FLUSH = 0.4  # between whole chunks on the disk [s]
TELLING = 1.0  # between events about losses [s]
SAME_SECOND = 100  # most recordings of one bundle that begin in one folder in one second


@dataclass(frozen=True)
class Rotation:
    """When a new file begins: beyond `size` [bytes] or `age` [s], and every `retry` [s] after a
    fault."""

    # An index of every chunk waits in memory for the end of its file: 3 MB in ten minutes.
    size: int = 256 * 1024 * 1024
    age: float = 600.0
    retry: float = 5.0


class Parts:
    """Writes rows to files that follow each other; for one thread.

    tell(name, text): hears of every fault; no method raises. Raises RecordingError when the first
    file cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        bundle: PolicyBundle,
        rotation: Rotation,
        tell: Callable[[str, str], None],
    ) -> None:
        manifest = bundle.manifest
        self._folder, self._rotation, self._tell = folder, rotation, tell
        self._schemas = schemas(manifest)
        self._attachments = {MANIFEST: ("application/json", encode_manifest(manifest))}
        # One offset for the whole recording: a change of the wall clock does not tear it.
        self._wall_ns = time.time_ns() - time.monotonic_ns()
        self._about = {
            "format": FORMAT,
            "bundle": manifest.name,
            "digest": bundle.digest,
            "control_period": repr(manifest.control_period),
            "wall_minus_monotonic_ns": str(self._wall_ns),
            "numpy": np.__version__,
            "onnxruntime": ONNXRUNTIME,
            "machine": platform.machine(),
        }
        self._number = 0  # of the part under way
        self._retry_at = 0.0
        self._lost = 0  # rows not written since the last LossRow
        self._losses = 0  # LossRows so far
        self._reason = ""
        self._tell_at = 0.0
        self._flush_at = time.monotonic() + FLUSH
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: RecordingFile | None = self._first(bundle.digest)
        except OSError as error:
            raise RecordingError(
                f"{folder}: cannot record here: {error.strerror or error}; expected a folder that "
                "this user may write to, on a disk with room"
            ) from error
        self.path = self._file.path

    def wall(self, monotonic_ns: int) -> int:
        """Time since 1970 [ns]."""
        return monotonic_ns + self._wall_ns

    def write(self, topic: str, schema: str, time_ns: int, number: int, data: bytes) -> None:
        """Add one row, or count it as lost. time_ns: the bridge's monotonic clock."""
        if self._file is None:
            self._lost += 1
        else:
            self._file.write(topic, schema, self.wall(time_ns), number, data)

    def lost(self, count: int, reason: str) -> None:
        """Count rows that were never handed over."""
        self._lost += count
        self._reason = reason

    def tend(self) -> None:
        """Do what is due: bring rows to the disk, begin another file, report losses."""
        now = time.monotonic()
        if now < self._flush_at:
            return
        self._flush_at = now + FLUSH
        if self._file is None and now >= self._retry_at:
            self._resume(now)
        if self._file is not None:
            self._save(self._file, now)

    def close(self) -> None:
        """Finish the current file."""
        file, self._file = self._file, None
        if file is None:
            return
        self._tell_at = 0.0
        self._account(file, time.monotonic())
        try:
            file.flush()
            file.finish()
        except OSError as error:
            self._fail(file, error)

    def _save(self, file: RecordingFile, now: float) -> None:
        self._account(file, now)
        try:
            file.flush()
            if now - file.begun > self._rotation.age or file.size > self._rotation.size:
                file.finish()
                self._file = None
        except OSError as error:
            self._fail(file, error)
            return
        if self._file is None:
            try:
                self._file = self._next()
            except OSError as error:
                self._fail(None, error)

    def _fail(self, file: RecordingFile | None, error: OSError) -> None:
        self._file = None
        self._retry_at = time.monotonic() + self._rotation.retry
        self._reason = error.strerror or str(error)
        where = str(self._folder)
        if file is not None:
            where = str(file.path)
            self._lost += file.waiting
            file.abandon()
        self._tell(
            "recording_failed",
            f"{where}: {self._reason}; nothing is recorded until a new file can be written, which "
            f"is tried every {self._rotation.retry:g} s",
        )

    def _resume(self, now: float) -> None:
        try:
            self._file = self._next()
        except OSError:
            # The first failure has been reported.
            self._retry_at = now + self._rotation.retry
            return
        self._tell("recording_resumed", f"goes on in {self._file.path}")

    def _account(self, file: RecordingFile, now: float) -> None:
        if not self._lost or now < self._tell_at:
            return
        self._tell_at = now + TELLING
        row = LossRow(time.monotonic_ns(), self._lost, self._reason)
        file.write(LOSSES, "acclimate.Loss", self.wall(row.time_ns), self._losses, encode_loss(row))
        self._tell("recording_gap", f"{self._lost} records are missing: {self._reason}")
        self._losses += 1
        self._lost = 0

    def _first(self, digest: str) -> RecordingFile:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for number in range(SAME_SECOND):
            self._stem = f"{stamp}-{digest[:12]}" + (f"-{number + 1}" if number else "")
            try:
                return self._open()
            except FileExistsError:
                continue  # another bridge began in the same second
        raise FileExistsError(f"{SAME_SECOND} recordings named {stamp}-{digest[:12]}")

    def _next(self) -> RecordingFile:
        self._number += 1
        return self._open()

    def _open(self) -> RecordingFile:
        path = self._folder / f"{self._stem}-{self._number:03d}.mcap"
        about = self._about | {"part": str(self._number)}
        return RecordingFile(path, self._schemas, about, self._attachments)
