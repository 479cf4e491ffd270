"""The bridge's log: one line per event on stderr, `event key=value ...`, made for a journal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import TextIO

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
LEVELS: Mapping[str, Level] = {
    "fault": Level.ERROR,
    "policy_failed": Level.ERROR,
    "tap_failed": Level.ERROR,
    "robot_fault": Level.ERROR,
    "robot_stopped": Level.WARNING,
    "robot_lost": Level.WARNING,
    "adaptation_problem": Level.WARNING,
    "observation_invalid": Level.WARNING,
    "frame_refused": Level.WARNING,
    "refused": Level.WARNING,
    "sequence_repeated": Level.WARNING,
    "episode_cut": Level.WARNING,
    "stop": Level.WARNING,
    "released": Level.NOTICE,
    "serving": Level.NOTICE,
    "closed": Level.NOTICE,
}


class Journal:
    """Writes lines to a stream; with priorities where systemd's journal reads it."""

    def __init__(self, stream: TextIO | None = None) -> None:
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
        print(line, file=self._stream, flush=True)


def _plain(value: str) -> str:
    # ASCII escapes: a stream in the C locale cannot say everything that a robot's name can.
    return value if _BARE.fullmatch(value) and value.isascii() else json.dumps(value)


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd connected this very stream to its journal (see systemd.exec, JOURNAL_STREAM);
    the variable alone is inherited by every child, wherever its output goes."""
    expected = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream in memory, or closed
        return False
    return expected == f"{found.st_dev}:{found.st_ino}"
