"""A trial on disk.

trial.json                   what was run: TrialHeader
episodes.jsonl               one EpisodeLine per finished episode, written as it ends
arrays/TASK-EPISODE.npz      steps (T,), observations (T, n_o), commands (T, n_a), rewards (T,)
summary.json                 the table: a list of statistics.Row
about.json                   optional, what the tasks and the film are: About
film.gif or film.mp4         optional; shown in the report
report.html                  written by `acclimate report`
"""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from adapt.atomic_file import write_atomically
from adapt.bundle.fields import ActionField, Field, Latent
from adapt.strict_json import parse
from robot_bridge.errors import TrialError
from robot_bridge.protocol.messages import Outcome
from robot_bridge.protocol.operator_messages import BeliefPoint, EpisodeRecord
from robot_bridge.trial.about import About
from robot_bridge.trial.statistics import Row

HEADER, LINES, SUMMARY, ARRAYS = "trial.json", "episodes.jsonl", "summary.json", "arrays"
ABOUT = "about.json"
FILMS = ("film.gif", "film.mp4")
FORMAT = 1


class TrialHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """started: local time, ISO 8601. settings: of the command that ran it."""

    format: int = FORMAT
    started: str
    robot: str
    bundle: str
    digest: str
    algorithm: str
    observation: tuple[Field, ...]
    action: tuple[ActionField, ...]
    control_period: float
    latent: Latent
    settings: dict[str, Any]


class EpisodeLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """EpisodeRecord without its arrays, which lie in `arrays`, a path within the folder."""

    task: int
    episode: int
    seed: int
    outcome: Outcome
    truth: dict[str, float]
    belief_before: BeliefPoint
    belief_after: BeliefPoint
    belief_trace: tuple[BeliefPoint, ...]
    events: tuple[str, ...]
    arrays: str


class TrialWriter:
    """Writes a trial as it runs: each line is on the disk before the next episode starts.

    Raises TrialError when the folder holds something and overwrite is False.
    """

    def __init__(self, folder: Path, header: TrialHeader, overwrite: bool = False) -> None:
        self.folder = folder
        try:
            clear(folder, overwrite)
            (folder / ARRAYS).mkdir(parents=True)
            write_atomically(folder / HEADER, _pretty(header))
            self._lines = (folder / LINES).open("wb")
        except OSError as error:
            raise TrialError(f"{folder}: {error.strerror or error}") from error

    def add(self, record: EpisodeRecord) -> EpisodeLine:
        """Write one episode. Raises TrialError when the disk does not take it."""
        name = f"{ARRAYS}/{record.task:04d}-{record.episode:02d}.npz"
        line = EpisodeLine(
            record.task,
            record.episode,
            record.seed,
            record.outcome,
            record.truth,
            record.belief_before,
            record.belief_after,
            record.belief_trace,
            record.events,
            name,
        )
        try:
            np.savez_compressed(self.folder / name, allow_pickle=False, **record.arrays())
            self._lines.write(msgspec.json.encode(line) + b"\n")
            self._lines.flush()
            os.fsync(self._lines.fileno())
        except OSError as error:
            raise TrialError(f"{self.folder}: {error.strerror or error}") from error
        return line

    def summarise(self, rows: list[Row]) -> None:
        """Write the table. Raises TrialError when the disk does not take it."""
        try:
            write_atomically(self.folder / SUMMARY, _pretty(rows))
        except OSError as error:
            raise TrialError(f"{self.folder}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()


def check_free(folder: Path, overwrite: bool) -> None:
    """Raises TrialError for a folder that is not empty, unless it holds a trial and may be
    overwritten."""
    if folder.exists() and not folder.is_dir():
        raise TrialError(f"{folder}: is a file; expected a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise TrialError(f"{folder}: is not empty; choose another, or say overwrite=true")
        if not (folder / HEADER).is_file():
            raise TrialError(f"{folder}: holds no trial, so it is not overwritten")


def clear(folder: Path, overwrite: bool) -> None:
    """Make an empty folder. Raises TrialError as `check_free` does, or when it cannot be made."""
    check_free(folder, overwrite)
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise TrialError(f"{folder}: {error.strerror or error}") from error


def read_header(folder: Path) -> TrialHeader:
    """Raises TrialError naming what is missing or wrong."""
    if not (folder / HEADER).is_file():
        raise TrialError(f"{folder}: no {HEADER}; expected a folder that `acclimate trial` wrote")
    return _decode(folder / HEADER, _read(folder / HEADER), TrialHeader)


def write_about(folder: Path, about: About) -> None:
    """Raises TrialError when the disk does not take it."""
    try:
        write_atomically(folder / ABOUT, _pretty(about))
    except OSError as error:
        raise TrialError(f"{folder / ABOUT}: {error.strerror or error}") from error


def read_about(folder: Path) -> About:
    """What was written there, or an empty one. Raises TrialError naming what is wrong."""
    path = folder / ABOUT
    return _decode(path, _read(path), About) if path.exists() else About()


def read_lines(folder: Path) -> list[EpisodeLine]:
    """All whole episodes, without a last line that was cut off."""
    return list(_lines(folder / LINES))


def read_arrays(folder: Path, line: EpisodeLine) -> dict[str, np.ndarray]:
    """steps (T,), observations (T, n_o), commands (T, n_a), rewards (T,) of one episode.

    Raises TrialError for a file that is missing, damaged or outside the folder."""
    path = (folder / line.arrays).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise TrialError(f"{folder / LINES}: {line.arrays!r} lies outside the folder")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TrialError(f"{path}: {error}") from error


def _lines(path: Path) -> Iterator[EpisodeLine]:
    data = _read(path)
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        yield _decode(f"{path}, line {number}", line, EpisodeLine)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TrialError(f"{path}: {error.strerror or error}") from error


def _decode(where: object, data: bytes, kind: type) -> Any:
    try:
        return parse(data, kind)
    except ValueError as error:
        raise TrialError(f"{where}: {error}") from error


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
