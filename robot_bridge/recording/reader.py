"""Reads recordings row by row, in the order in which they were written."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import CRCValidationError, StreamReader

from robot_bridge.errors import RecordingError
from robot_bridge.recording.rows import FORMAT, METADATA, ROWS, Row

MAX_RECORD = 256 * 1024 * 1024  # bytes; a chunk of ours has some hundred thousand


@dataclass(frozen=True)
class Entry:
    """One row. robot: "" on topics of the bridge itself. number: counts by one in its series."""

    robot: str
    number: int
    row: Row


class RecordingReader:
    """One file, which can be read once.

    about: the metadata at its start. cut: once `entries` is exhausted, where and why the file ends
    early, or "" if it was closed.

    Raises RecordingError for anything but a recording of this format, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cut = ""
        try:
            self._stream = _Whole(path.open("rb"))
        except OSError as error:
            raise RecordingError(f"{path}: {error.strerror or error}") from error
        self._records = self._read()
        self.about = self._head()

    def entries(self) -> Iterator[Entry]:
        """Every row. Raises RecordingError at the first that is damaged."""
        decoders = {name: msgspec.json.Decoder(kind) for name, kind in ROWS.items()}
        names: dict[int, str] = {}
        channels: dict[int, tuple[str, msgspec.json.Decoder[Any] | None]] = {}
        for record in self.records():
            if isinstance(record, Schema):
                names[record.id] = record.name
            elif isinstance(record, Channel):
                decoder = decoders.get(names.get(record.schema_id, ""))
                channels[record.id] = record.topic, decoder
            elif isinstance(record, Message) and record.channel_id in channels:
                topic, decoder = channels[record.channel_id]
                if decoder is not None:
                    yield self._entry(topic, record, decoder)

    def records(self) -> Iterator[object]:
        """The MCAP records after the metadata. A reader gives either these or `entries`."""
        try:
            yield from self._records
        finally:
            self._stream.close()

    def _entry(self, topic: str, record: Message, decoder: msgspec.json.Decoder[Any]) -> Entry:
        robot = topic[1:].rpartition("/")[0]
        try:
            return Entry(robot, record.sequence, decoder.decode(record.data))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordingError(
                f"{self.path}: row {record.sequence} of {topic} is not what its schema says: "
                f"{error}"
            ) from error

    def _head(self) -> dict[str, str]:
        for record in self._records:
            if isinstance(record, Metadata) and record.name == METADATA:
                found = record.metadata.get("format", "")
                if found != FORMAT:
                    raise RecordingError(
                        f"{self.path}: recording format {found or 'unknown'}; this program reads "
                        f"{FORMAT}"
                    )
                return record.metadata
            if isinstance(record, Message | Channel):
                break
        reason = f"; {self.cut}" if self.cut else ""
        raise RecordingError(f"{self.path}: not a recording of a bridge{reason}")

    def _read(self) -> Iterator[object]:
        reader = StreamReader(self._stream, validate_crcs=True, record_size_limit=MAX_RECORD)  # pyright: ignore[reportArgumentType]
        try:
            yield from reader.records
        except EOFError as error:
            self.cut = str(error)
        except CRCValidationError as error:
            raise RecordingError(f"{self._where()}: a checksum does not match") from error
        # Bytes that are no MCAP raise any of these; lz4 raises RuntimeError.
        except (McapError, RuntimeError, ValueError, struct.error, OverflowError) as error:
            raise RecordingError(f"{self._where()}: {error}") from error

    def _where(self) -> str:
        return f"{self.path}: damaged before byte {self._stream.position}"


class _Whole:
    """A file whose `read` returns as many bytes as asked for, or raises EOFError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self.position = 0

    def read(self, size: int) -> bytes:
        # Before memory is allocated: a damaged length may be any number.
        if size > self._size - self.position:
            raise EOFError(
                f"the record at byte {self.position} of {self._size} is cut off, and there is no "
                "summary: the bridge was killed, or still writes"
            )
        data = self._file.read(size)
        self.position += len(data)
        return data

    def close(self) -> None:
        self._file.close()


def parts(path: Path) -> list[Path]:
    """`path` and the parts that follow it in the same recording."""
    match = re.fullmatch(r"(.+)-(\d{3,})\.mcap", path.name)
    if match is None:
        return [path]
    stem, first = match[1], int(match[2])
    found: dict[int, Path] = {}
    for other in path.parent.glob("*.mcap"):
        same = re.fullmatch(r"(.+)-(\d{3,})\.mcap", other.name)
        if same and same[1] == stem and int(same[2]) > first:
            found[int(same[2])] = other
    return [path, *(found[number] for number in sorted(found))]
