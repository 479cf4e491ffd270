"""Files of a run, each replaced whole or not at all, and a folder that one training holds."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from adapt import atomic_file
from adapt.errors import AcclimateError

LOCK = ".lock"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class OutputError(AcclimateError):
    """A file or folder that cannot be written; the message says why."""


def output_error(path: Path, error: OSError, advice: str = "") -> OutputError:
    """What to tell of an error while `path` was written."""
    what = error.strerror or str(error)
    if error.errno in FULL:
        with suppress(OSError):
            what += f" ({shutil.disk_usage(path.parent).free / 1e6:.0f} MB are free there)"
    return OutputError(f"{path} cannot be written: {what}{advice}")


def ensure_folder(path: Path) -> None:
    """Make a folder and find out whether files can be written there. Raises OutputError."""
    for each in (path, *path.parents):
        if each.exists() and not each.is_dir():
            where = "" if each == path else f"{path}: "
            raise OutputError(f"{where}{each} is a file; expected a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise output_error(path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """See `adapt.atomic_file.replacing`; Ctrl-C waits until the file is whole.

    Raises OutputError, the old file as it was.
    """
    with interrupted_later():
        try:
            with atomic_file.replacing(path) as stream:
                yield stream
        except (OSError, RuntimeError) as error:
            # torch raises an error of its own when it cannot end a file whose writing has failed.
            cause = _os_error(error)
            if cause is None:
                raise
            kept = f"; {path.name} is still the one before" if path.exists() else ""
            raise output_error(path, cause, kept) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, whole or not at all. Raises OutputError."""
    with replacing(path) as stream:
        stream.write(data)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run folder, which is made if need be, and remove the drafts of a training that was
    killed there. Raises OutputError while another process holds it, which it names."""
    ensure_folder(folder)
    try:
        stream = (folder / LOCK).open("a+")
    except OSError as error:
        raise output_error(folder / LOCK, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputError(f"{folder}: {_holder(folder)}") from error
        stream.truncate(0)
        who = {"host": socket.gethostname(), "pid": os.getpid()}
        stream.write(json.dumps({**who, "since": datetime.now().isoformat(" ", "seconds")}))
        stream.flush()
        for draft in folder.glob(".*.draft"):
            draft.unlink(missing_ok=True)
        try:
            yield
        finally:
            stream.truncate(0)


def _holder(folder: Path) -> str:
    try:
        who = json.loads((folder / LOCK).read_text())
        name = f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError):
        name = "another process"
    return f"a training runs here ({name}); wait for its end, or choose another out="


@contextmanager
def interrupted_later() -> Iterator[None]:
    """Within it Ctrl-C is put off to the end. Only the main thread receives it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received:
            signal.raise_signal(signal.SIGINT)


def _os_error(error: BaseException | None) -> OSError | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error
