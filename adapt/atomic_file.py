"""Files that appear whole or not at all: after a crash at any moment the old one or the new one is
there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, mode: int = 0o644, *, new: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of `path` when the block ends without an error.

    mode: of the file, less the umask. new: never in place of another file. Raises OSError, with
    `new` FileExistsError; `path` is as before then, and nothing is left beside it.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
    try:
        # The mode is there from the first byte on.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        if new:
            # A link, unlike a rename, fails where a file is already.
            os.link(draft, path)
        else:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync(path.parent)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file by these bytes; see `replacing`."""
    with replacing(path, mode) as stream:
        stream.write(data)


def sync(folder: Path) -> None:
    """Put a folder on the disk: a new name in it outlives a power cut only then."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
