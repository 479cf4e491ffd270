"""One MCAP file that grows by whole chunks: after any fault it reads up to the last of them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from mcap.writer import CompressionType, Writer

from adapt.atomic_file import sync
from robot_bridge.recording.rows import ENCODING, LIBRARY, METADATA, PROFILE

# mcap makes a chunk's index in Python, row by row. A larger chunk would keep the interpreter from
# the control loop for longer than a few tenths of a millisecond.
CHUNK_BYTES = 128 * 1024


class _Tail:
    """The end of a file that is not yet on the disk; mcap's writer sees a file without faults."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        self.kept = 0  # bytes of the file that are whole and on the disk

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def tell(self) -> int:
        return self.kept + len(self._waiting)

    def flush(self) -> None:
        """Nothing yet; see `commit`."""

    def commit(self) -> None:
        """Write to the disk, or cut the file back to what was there before. Raises OSError."""
        try:
            written = 0
            with memoryview(self._waiting) as view:
                while written < len(view):
                    written += os.write(self._descriptor, view[written:])
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.kept)
            raise
        self.kept += len(self._waiting)
        self._waiting.clear()


class RecordingFile:
    """A new file at `path`, which must not exist.

    schemas: JSON schema by name. about: metadata at the start. attachments: media type and data by
    name. Raises OSError, here and from every method that writes; after that call only `abandon`.
    """

    def __init__(
        self,
        path: Path,
        schemas: Mapping[str, Mapping[str, Any]],
        about: Mapping[str, str],
        attachments: Mapping[str, tuple[str, bytes]],
    ) -> None:
        self.path = path
        self.begun = time.monotonic()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._tail = _Tail(self._descriptor)
        # LZ4 takes a tenth of the time of Zstandard, and mcap depends on it anyway.
        self._writer = Writer(self._tail, CHUNK_BYTES, CompressionType.LZ4)  # pyright: ignore[reportArgumentType]
        self._channels: dict[str, int] = {}
        self._head = 0  # bytes before the first row
        self.waiting = 0  # rows not yet on the disk
        try:
            self._writer.start(PROFILE, LIBRARY)
            self._writer.add_metadata(METADATA, dict(about))
            for name, (media, data) in attachments.items():
                self._writer.add_attachment(0, 0, name, media, data)
            self._schemas = {
                name: self._writer.register_schema(name, "jsonschema", msgspec.json.encode(schema))
                for name, schema in schemas.items()
            }
            self._tail.commit()
            self._head = self._tail.kept
            sync(path.parent)
        except OSError:
            self.abandon()
            raise

    @property
    def size(self) -> int:
        """Bytes so far, including those not yet on the disk."""
        return self._tail.tell()

    def write(self, topic: str, schema: str, log_ns: int, number: int, data: bytes) -> None:
        """Add one row. log_ns: since 1970. number: counts up by 1 on each topic."""
        channel = self._channels.get(topic)
        if channel is None:
            channel = self._writer.register_channel(topic, ENCODING, self._schemas[schema])
            self._channels[topic] = channel
        self._writer.add_message(channel, log_ns, data, log_ns, number & 0xFFFFFFFF)
        self.waiting += 1

    def flush(self) -> None:
        """End the current chunk and bring everything to the disk."""
        self._writer.flush()
        self._tail.commit()
        self.waiting = 0

    def finish(self) -> None:
        """Write indexes and summary, and close; a file without rows is removed."""
        if self._tail.kept <= self._head and not self.waiting:
            self.abandon()
            return
        self._writer.finish()
        self._tail.commit()
        os.close(self._descriptor)

    def abandon(self) -> None:
        """Close with whole chunks and no summary; a file without chunks is removed."""
        # The disk has failed already, and the caller reports that.
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
            if self._tail.kept <= self._head:
                self.path.unlink(missing_ok=True)
