"""Turns Ctrl-C and SIGTERM into a request that a loop reads, instead of an exception."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """True once SIGINT or SIGTERM has come. Installed for the life of the process, so that a
    second Ctrl-C cannot break into the shutdown. Main thread only."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        for number in _SIGNALS:
            signal.signal(number, self._note)

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, as shells expect; 0 otherwise: SIGTERM is how a service is ended."""
        return 130 if self.signal is signal.SIGINT else 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number)
