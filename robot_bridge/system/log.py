"""The bridge's log: one line per event, `event key=value ...`, written without waiting.

A stream that systemd connected to its journal gets priorities.
"""

from __future__ import annotations

import errno
import io
import json
import os
import queue
import re
import select
import sys
import threading
from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol

# An hour of ordinary events; a reader so far behind has gone.
CAPACITY = 1000  # lines that wait
STDERR = 2

# Written without quotes; everything else is quoted, so that no text from outside can start a new
# line or a field.
_BARE = re.compile(r"[\w.:/+@%,×-]+")


class Level(IntEnum):
    """syslog's severities, as journald reads them from a line's `<N>`."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


# All other events are information.
_NAMES = {
    Level.ERROR: """
        answer_failed bridge_fault admission_failed fault policy_failed rate_lost recording_failed
        robot_fault tap_failed
    """,
    Level.WARNING: """
        adaptation_late adaptation_problem belief_file_problem belief_not_kept belief_refused
        driver_too_fast driver_too_slow
        episode_cut frame_refused guard_outside key_unreadable model_refused no_episode
        observation_invalid peer_expelled peer_refused rate_slipping recording_gap refused
        release_refused robot_lost robot_silent robot_stopped sequence_repeated shared_run_failed
        state_not_recorded stop_given
    """,
    Level.NOTICE: """
        belief_restored closed guard_inside key_revoked model_serves model_swapped recording
        recording_resumed released robot_released serving
    """,
}
LEVELS: Mapping[str, Level] = {
    name: level for level, names in _NAMES.items() for name in names.split()
}


class Log(Protocol):
    """Where one event after the other is written."""

    def __call__(self, event: str, text: str = "", **fields: object) -> None: ...


class Stream(Protocol):
    """What a log is written to: sys.stderr, or a `LogOutput`."""

    def write(self, text: str, /) -> int: ...

    def flush(self) -> None: ...

    def fileno(self) -> int: ...


class Journal:
    """Writes lines to a stream; with priorities where systemd's journal reads it."""

    def __init__(self, stream: Stream | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._prioritised = _is_journal(self._stream)

    def __call__(self, event: str, text: str = "", **fields: object) -> None:
        """One event. text: a sentence for people. fields: what machines filter by; those that are
        empty are left out."""
        line = f"bridge: {_plain(event)}"
        for name, value in (fields | {"text": text}).items():
            if value not in ("", None):
                line += f" {name}={_plain(str(value))}"
        if self._prioritised:
            line = f"<{LEVELS.get(event, Level.INFO).value}>{line}"
        # In one piece: another thread may write in between.
        self._stream.write(line + "\n")
        self._stream.flush()


def speakable(text: str) -> str:
    """The text as UTF-8 can carry it: lone surrogates, which Python uses for bytes of a file's name
    that are not UTF-8, are spelt out as in `\\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: str) -> str:
    # ASCII escapes: a stream in the C locale cannot say everything that a robot's name can.
    return value if _BARE.fullmatch(value) and value.isascii() else json.dumps(value)


def _is_journal(stream: Stream) -> bool:
    """Whether systemd connected this very stream to its journal (see systemd.exec, JOURNAL_STREAM);
    the variable alone is inherited by every child, wherever its output goes."""
    expected = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream in memory, or closed
        return False
    return expected == f"{found.st_dev}:{found.st_ino}"


class LogOutput(io.TextIOBase):
    """A text stream over a file descriptor, written by a thread of its own; never blocks.

    A pipe that is not read and a full disk cost lines, which are counted; a closed pipe costs all
    of them. Not logging's QueueListener, whose queue of records would need a formatter and a count
    of its own.
    """

    # The descriptor and not sys.stderr: a thread that hangs inside that object holds its lock, and
    # the interpreter aborts when it needs that lock at the end.
    def __init__(self, descriptor: int, capacity: int = CAPACITY) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[str | None] = queue.Queue(capacity)
        self._begun = ""  # a line that has not ended yet
        self._lost = 0  # lines since the start; counted by `write`, read by the thread
        self._writer = threading.Thread(target=self._work, name="journal", daemon=True)
        self._writer.start()

    def write(self, text: str) -> int:
        """Hand whole lines over; they are dropped where too many wait already."""
        lines, newline, rest = (self._begun + text).rpartition("\n")
        self._begun = rest
        if newline:
            try:
                self._waiting.put_nowait(lines + newline)
            except queue.Full:
                self._lost += lines.count("\n") + 1
        return len(text)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def finish(self, timeout: float) -> None:
        """Give what waits timeout [s] to leave; the descriptor stays open."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._writer.join(timeout)

    def _work(self) -> None:
        told = 0
        unwritten = 0  # lines that the descriptor did not take
        while (text := self._waiting.get()) is not None:
            count = text.count("\n")
            lost = self._lost + unwritten
            if lost > told:
                text = f"bridge: lines_lost count={lost - told}\n{text}"
            try:
                self._put(text.encode("utf-8", "backslashreplace"))
            except OSError as error:
                if error.errno in (errno.EBADF, errno.EPIPE):
                    # It is closed: the queue fills, and lines are dropped from then on.
                    return
                unwritten += count  # a full disk, for example, which may have room again
            else:
                told = lost

    def _put(self, left: bytes) -> None:
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                # Another process that has this descriptor too made it non-blocking.
                select.select([], [self._descriptor], [])


def claim(descriptor: int) -> None:
    """Point a closed descriptor at nothing: its number would go to the next file or socket, a
    robot's socket for one, and lines would go there."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
