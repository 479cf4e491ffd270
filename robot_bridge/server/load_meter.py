"""How busy the loop is, and whether one more robot finds room beside those that are connected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Share = Annotated[float, Meta(gt=0.0, le=1.0)]

FULL, ROOM = "bridge_full", "bridge_has_room"


@dataclass(frozen=True)
class LoadSettings:
    """full: busy share of the loop's time beyond which no further robot is admitted; 1 admits all.
        At four fifths a frame already waits for two answers to others on average.
    free: busy share at which robots are admitted again. Less than `full`, so that robots that come
        and go do not change the answer each time.
    window: time over which the share is taken [s].
    """

    full: Share = 0.8
    free: Share = 0.65
    window: Annotated[float, Meta(gt=0.0, le=60.0)] = 3.0


class LoadMeter:
    """Belongs to the loop. share: of its time in which it did not wait for frames, an exponential
    average."""

    def __init__(self, settings: LoadSettings | None = None) -> None:
        self._settings = settings or LoadSettings()
        self._before: float | None = None
        self._full = self._told = False
        self.share = 0.0

    def note(self, now: float, waited: float | None) -> None:
        """A turn of the loop ends at `now` [s]. waited: for its first frame [s]; None for a turn
        without frames."""
        before, self._before = self._before, now
        passed = 0.0 if before is None else now - before
        if passed <= 0.0:
            return
        busy = 0.0 if waited is None else max(0.0, 1.0 - waited / passed)
        self.share += min(1.0, passed / self._settings.window) * (busy - self.share)
        if self.share > self._settings.full:
            self._full = True
        elif self.share <= self._settings.free:
            self._full = False

    def refusal(self, robots: int) -> str:
        """Why there is no room for one more beside so many robots, or "". One robot is always
        admitted. The next one is expected to take as much time as each of them."""
        full = self._settings.full
        if not robots or full == 1.0:
            return ""
        expected = self.share * (robots + 1) / robots
        if not self._full and expected <= full:
            return ""
        return (
            f"the bridge is full: with {robots} robots it is busy {self.share:.0%} of the time, "
            f"and one more may make it at most {full:.0%} (load.full); it admits robots again at "
            f"{self._settings.free:.0%}"
        )

    def news(self) -> list[tuple[str, str]]:
        """(name, text) of what has changed since the last call."""
        if self._told == self._full:
            return []
        self._told = self._full
        text = f"busy {self.share:.0%} of the time"
        return [(FULL if self._full else ROOM, text)]
