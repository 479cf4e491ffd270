"""Beliefs that outlive the bridge: one file for each robot and bundle.

All files are read before the bridge serves and written by a thread of its own, so that no robot
ever waits for a disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec

from adapt.atomic_file import write_atomically
from adapt.errors import SnapshotError
from robot_bridge.errors import StateError, described
from robot_bridge.session.robot_session import RobotSession
from robot_bridge.system.queues import drained

MAGIC = b"ACBL1\n"
ENDING = ".belief"
MAX_FILES = 1000
MAX_BYTES = 512 * 1024 * 1024  # of all files together
LOCK = ".lock"

Count = Annotated[int, msgspec.Meta(ge=0)]


class SavedBelief(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A belief at rest. digest: of the bundle it belongs to. version, count: of the belief.
    saved: seconds since 1970. snapshot: of `Adapter.snapshot`."""

    robot: str
    digest: str
    version: Count
    count: Count
    saved: float
    snapshot: bytes


@dataclass(frozen=True)
class _Damage:
    """A file that could not be read, moved aside."""

    text: str


class BeliefStore:
    """A folder of beliefs, for one bridge at a time. Belongs to the loop's thread.

    Raises StateError for a folder that cannot be used, is another bridge's, or is open to others.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, SavedBelief | _Damage] = {}
        self._waiting: dict[str, SavedBelief] = {}
        self._wake: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._problems: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            info = folder.stat()
            if info.st_uid != os.getuid() or info.st_mode & 0o022:
                # Another user who writes here would decide what a robot believes.
                raise StateError(
                    f"{folder}: others may write here; expected a folder of user {os.getuid()} "
                    "with mode 0700"
                )
            self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{folder}: {error.strerror or error}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read_all()
        except BlockingIOError:
            os.close(self._lock)
            raise StateError(f"{folder}: in use by another bridge") from None
        except OSError as error:
            os.close(self._lock)
            raise StateError(f"{folder}: {error.strerror or error}") from error
        self._writer = threading.Thread(target=self._work, name="beliefs", daemon=True)
        self._writer.start()

    def find(self, robot: str, digest: str) -> SavedBelief | None:
        """What is known of a robot under a bundle; None where there is nothing.

        Raises StateError, once, where there was a file that is damaged.
        """
        name = file_name(robot, digest)
        found = self._known.get(name)
        if isinstance(found, _Damage):
            del self._known[name]
            raise StateError(found.text)
        return found

    def save(self, robot: str, digest: str, version: int, count: int, snapshot: bytes) -> None:
        """Keep a belief; it is on the disk a moment later."""
        name = file_name(robot, digest)
        saved = SavedBelief(robot, digest, version, count, time.time(), snapshot)
        # An older one that waits to be written is not written any more.
        self._known[name] = self._waiting[name] = saved
        self._wake.put(name)

    def problems(self) -> list[str]:
        """What could not be written or read since the last call."""
        return drained(self._problems)

    def close(self, timeout: float = 2.0) -> None:
        """Give what waits timeout [s] to reach the disk, and leave the folder to the next."""
        self._wake.put(None)
        self._writer.join(timeout)
        # While something is still being written the folder stays ours.
        if not self._writer.is_alive() and self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _read_all(self) -> None:
        left = MAX_BYTES
        paths = sorted(self._folder.glob(f"*{ENDING}"))
        for path in paths[MAX_FILES:]:
            self._problems.put(f"{path}: left unread; at most {MAX_FILES} beliefs are kept")
        for path in paths[:MAX_FILES]:
            try:
                size = path.stat().st_size
                if size > left:
                    raise StateError(f"{path}: {size} bytes; {left} are left of {MAX_BYTES}")
                left -= size
                saved = _decode(path.read_bytes(), path)
            except (StateError, OSError) as error:
                self._known[path.name] = _Damage(str(error))
                self._problems.put(str(error))
                path.replace(path.with_suffix(".damaged"))
                continue
            self._known[path.name] = saved

    def _work(self) -> None:
        while (name := self._wake.get()) is not None:
            saved = self._waiting.pop(name, None)
            if saved is None:
                continue
            path = self._folder / name
            try:
                write_atomically(path, _encode(saved), 0o600)
            # Any fault: later beliefs must be written all the same.
            except Exception as error:
                self._problems.put(f"{path}: {described(error)}; the belief before stays")


class BeliefRecovery:
    """store: None keeps nothing beyond the bridge's own life. tell(name, robot, text)."""

    def __init__(self, store: BeliefStore | None, tell: Callable[[str, str, str], None]) -> None:
        self._store = store
        self._tell = tell

    def save(self, robot: RobotSession) -> None:
        """Store the belief that the robot has put aside, if there is a new one."""
        kept = robot.episodes.unsaved()
        if kept is not None and self._store is not None:
            self._store.save(robot.name, kept.digest, kept.version, kept.count, kept.snapshot)

    def recall(self, robot: RobotSession) -> None:
        """Give a robot the belief that it had under the same model."""
        if self._store is None:
            return
        try:
            saved = self._store.find(robot.name, robot.episodes.digest)
            if saved is None:
                return
            belief = robot.episodes.recall(saved.snapshot)
        except (StateError, SnapshotError) as error:
            self._tell("belief_refused", robot.name, f"{error}; it starts from the prior")
            return
        age = max(0.0, time.time() - saved.saved)
        text = f"{belief.count} transitions, kept {age:.0f} s ago"
        self._tell("belief_restored", robot.name, text)

    def tend(self) -> None:
        """Tell of beliefs that could not be read or written."""
        if self._store is not None:
            for text in self._store.problems():
                self._tell("belief_file_problem", "", text)

    def close(self) -> None:
        """Write what waits, unless the disk hangs."""
        if self._store is not None:
            self._store.close()


def file_name(robot: str, digest: str) -> str:
    """The file of a robot under a bundle: readable, and never that of another."""
    mark = hashlib.sha256(robot.encode()).hexdigest()[:8]
    return f"{quote(robot, safe='')[:80]}-{mark}-{digest[:16]}{ENDING}"


def _encode(saved: SavedBelief) -> bytes:
    payload = msgspec.msgpack.encode(saved)
    return MAGIC + hashlib.sha256(payload).digest() + payload


def _decode(data: bytes, path: Path) -> SavedBelief:
    head = len(MAGIC)
    if not data.startswith(MAGIC):
        raise StateError(f"{path}: not a belief of this format; it begins with {data[:head]!r}")
    checksum, payload = data[head : head + 32], data[head + 32 :]
    if hashlib.sha256(payload).digest() != checksum:
        raise StateError(f"{path}: damaged, its checksum does not match")
    try:
        saved = msgspec.msgpack.decode(payload, type=SavedBelief)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StateError(f"{path}: {error}") from error
    if file_name(saved.robot, saved.digest) != path.name:
        raise StateError(f"{path}: holds the belief of {saved.robot!r} under another name")
    return saved
