"""The gap between two answers, in which the threads beside the loop may have the interpreter."""

from __future__ import annotations

import threading


class Gap:
    """One thread waits for gaps, the loop opens them.

    A thread that wakes by itself meets, sooner or later, the loop at its work, and every call of
    the loop's that lets go of the interpreter then waits to get it back. Right after an answer the
    next observation is most of a period away.
    """

    def __init__(self) -> None:
        # A bare lock as a flag: taken means closed. An Event takes three times as long to set, and
        # the loop pays for it in every period.
        self._closed = threading.Lock()
        self._closed.acquire()

    def open(self) -> None:
        """A gap begins. For the loop alone; costs it about a microsecond."""
        if self._closed.locked():
            self._closed.release()

    def wait(self, timeout: float) -> bool:
        """Until a gap begins, at most timeout [s]; False when none did. For one thread."""
        return self._closed.acquire(timeout=timeout)
