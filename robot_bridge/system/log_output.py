"""Where the bridge's lines leave it: never waits for whoever reads them, or does not."""

from __future__ import annotations

import io
import os
import queue
import threading

# An hour of ordinary events; a reader so far behind has gone.
CAPACITY = 1000
STDERR = 2


class Outlet(io.TextIOBase):
    """A text stream over a file descriptor, written by a thread of its own.

    A pipe that nobody empties costs lines, which are counted, and a closed one all of them; neither
    an exception nor a moment of the loop.
    """

    # The descriptor and not sys.stderr: a thread that hangs inside that object holds its lock, and
    # the interpreter aborts when it wants it at the end.
    def __init__(self, descriptor: int, capacity: int = CAPACITY) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[str | None] = queue.Queue(capacity)
        self._begun = ""  # a line that has not ended yet
        self._lost = 0  # lines, since the beginning; whoever writes counts, the thread only reads
        self._writer = threading.Thread(target=self._work, name="journal", daemon=True)
        self._writer.start()

    def write(self, text: str) -> int:
        """Hand whole lines over; they are lost where too many wait already."""
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
        while (text := self._waiting.get()) is not None:
            lost = self._lost
            if lost > told:
                text = f"bridge: lines_lost count={lost - told}\n{text}"
                told = lost
            left = text.encode("utf-8", "backslashreplace")
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:
                # Nobody reads, now or ever; the queue fills and lines are dropped from then on.
                return


def claim(descriptor: int) -> None:
    """Point a closed descriptor at nothing: its number would go to whatever is opened next, a
    robot's socket for one, and lines would go there."""
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)
