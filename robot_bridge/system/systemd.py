"""Tells systemd that the process is ready, alive or stopping. Does nothing without systemd."""

from __future__ import annotations

import os
import time

from sdnotify import SystemdNotifier


class Service:
    """This process as a service of Type=notify. Reads NOTIFY_SOCKET and WATCHDOG_USEC."""

    def __init__(self) -> None:
        self._notifier = SystemdNotifier() if os.environ.get("NOTIFY_SOCKET") else None
        # Half the time that systemd allows, as sd_watchdog_enabled(3) advises [s].
        self._pause = _watchdog() / 2
        self._due = 0.0

    def ready(self, status: str) -> None:
        """The process serves now."""
        self._tell(f"READY=1\nSTATUS={_line(status)}")

    def alive(self) -> None:
        """Call often, from the loop itself: systemd restarts a loop that hangs."""
        if not self._pause:
            return
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._pause
            self._tell("WATCHDOG=1")

    def stopping(self, reason: str) -> None:
        """The process is about to end."""
        self._tell(f"STOPPING=1\nSTATUS={_line(reason)}")

    def _tell(self, state: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(state)


def _watchdog() -> float:
    """Seconds between signs of life that systemd expects of this process; 0 for none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = os.environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() else 0.0


def _line(text: str) -> str:
    # A line of its own would be another variable; sdnotify sends Latin-1.
    return text.replace("\n", " ").encode("latin-1", "replace").decode("latin-1")
