"""Signals that the bridge's loop is idle, so that threads beside it may run without delaying it."""

from __future__ import annotations

import threading


class IdleSignal:
    """The loop opens it between two answers; one thread waits for it.

    A thread that wakes by itself sooner or later meets the loop at work, and every call in which
    the loop releases the interpreter's lock then waits to get it back. Right after an answer the
    next observation is most of a period away.
    """

    def __init__(self) -> None:
        # A bare lock as a flag: taken means closed. An Event takes three times as long to set, in
        # every period of the loop.
        self._closed = threading.Lock()
        self._closed.acquire()

    def open(self) -> None:
        """Signal that the loop is idle. For the loop alone; takes about a microsecond."""
        if self._closed.locked():
            self._closed.release()

    def wait(self, timeout: float) -> bool:
        """Wait for the signal, at most timeout [s]; False when there was none. For one thread."""
        return self._closed.acquire(timeout=timeout)
