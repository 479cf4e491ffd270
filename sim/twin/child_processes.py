"""Child processes of a command, which end before it does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 5.0
"""Time for a child to end after SIGTERM, before it is killed [s]."""
LAST_LINES = 5


class Signals:
    """Within it, SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt or SystemExit(128 + number).

    Within `with signals.held():` they are raised at its end instead, so that a child that has just
    been started is known to the code that ends it. Main thread only.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._holds = 0
        self._waiting: signal.Signals | None = None

    def __enter__(self) -> Self:
        for number in ENDING:
            self._before[number] = signal.signal(number, self._come)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if self._holds == 0 and self._waiting is not None:
                waiting, self._waiting = self._waiting, None
                self._raise(waiting)

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self._holds:
            self._waiting = signal.Signals(number)
        else:
            self._raise(signal.Signals(number))

    def _raise(self, number: signal.Signals) -> None:
        if number is signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


class Children:
    """`acclimate` commands as child processes; leaving the block ends them in reverse order.

    scratch: folder for their output.
    """

    def __init__(self, scratch: Path, signals: Signals) -> None:
        self._scratch, self._signals = scratch, signals
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, command: str, *words: str) -> None:
        """Start `acclimate COMMAND WORDS`."""
        with self._signals.held(), self._log(command).open("wb") as log:
            # In a session of its own: Ctrl-C reaches only the parent, which ends them in order.
            child = subprocess.Popen(
                [sys.executable, "-m", "acclimate", command, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._running.append((command, child))

    def last_words(self) -> str:
        """The children's last lines of output, for an error message."""
        said = []
        for command, child in self._running:
            text = self._log(command).read_text(errors="replace").strip()
            ended = "" if child.poll() is None else f" (ended with {child.returncode})"
            tail = "\n    ".join(text.splitlines()[-LAST_LINES:])
            said.append(f"\n  {command}{ended}: {tail or 'silent'}")
        return "".join(said)

    def stop(self) -> None:
        """End every child, the last one first; kill those that do not end."""
        with self._signals.held():
            while self._running:
                _, child = self._running[-1]
                child.terminate()
                try:
                    child.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                self._running.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _log(self, command: str) -> Path:
        return self._scratch / f"{command}.log"
