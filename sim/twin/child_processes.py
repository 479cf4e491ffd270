"""Processes that a command starts, and that never outlive it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Self

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 5.0
"""For a child to end by itself once it was asked to [s]."""
LAST_LINES = 5


class Signals:
    """Ctrl-C, SIGTERM and SIGHUP as exceptions that can be held back for a moment.

    Within `with signals.held():` a signal waits, so that a child which has just been started is
    surely known to whoever ends it. Main thread only.
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

    def held(self) -> _Held:
        return _Held(self)

    def hold(self) -> None:
        self._holds += 1

    def release(self) -> None:
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


class _Held:
    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def __enter__(self) -> None:
        self._signals.hold()

    def __exit__(self, *error: object) -> None:
        self._signals.release()


class Children:
    """`acclimate` commands as child processes, in reverse order ended with the block.

    scratch: folder for their standard error.
    """

    def __init__(self, scratch: Path, signals: Signals) -> None:
        self._scratch, self._signals = scratch, signals
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, command: str, *words: str) -> None:
        """Start `acclimate COMMAND WORDS`."""
        with self._signals.held(), self._log(command).open("wb") as log:
            # A session of its own: Ctrl-C reaches the parent alone, which ends them in order.
            child = subprocess.Popen(
                [sys.executable, "-m", "acclimate", command, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._running.append((command, child))

    def last_words(self) -> str:
        """What the children said last, for an error message."""
        said = []
        for command, child in self._running:
            text = self._log(command).read_text(errors="replace").strip()
            ended = "" if child.poll() is None else f" (ended with {child.returncode})"
            tail = "\n    ".join(text.splitlines()[-LAST_LINES:])
            said.append(f"\n  {command}{ended}: {tail or 'silent'}")
        return "".join(said)

    def stop(self) -> None:
        """Ask every child to end, the last one first, and make sure that it does."""
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
