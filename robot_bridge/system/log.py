"""The bridge's log: one line per event on stderr, `event key=value ...`, made for a journal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol

# Read as they stand; everything else is quoted, so that no text from outside can begin a new line
# or a field of its own.
_BARE = re.compile(r"[\w.:/+@%,×-]+")


class Level(IntEnum):
    """syslog's severities, as journald reads them from a line's `<N>`."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


# Whatever is not named here is information.
_NAMES = {
    Level.ERROR: """
        answer_failed bridge_fault door_failed fault policy_failed rate_lost recording_failed
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
    """What a log is written to: sys.stderr, or an `Outlet`."""

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
    """The same text where UTF-8 can carry it. A file's name may hold bytes that are none, which
    Python keeps as lone surrogates; they are spelt out, as in `\\udcff`."""
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
