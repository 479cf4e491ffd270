"""Bounds how often events are told: of one robot's troubles, and of all that one peer causes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

BURST = 200  # entries that a peer may cause at once, ...
RATE = 20.0  # ... and from then on [1/s]
START = 20  # entries that a new peer takes over from the allowance of those without a session
KINDS = 64  # kinds of entries whose latest is kept, of one peer


class EventThrottle:
    """Events of one robot, as (name, text), until `take` returns them.

    note(name, text): called with each at once.
    """

    def __init__(self, note: Callable[[str, str], None]) -> None:
        self._note = note
        self._found: list[tuple[str, str]] = []
        self._counts: dict[str, int] = {}  # by name, in this episode
        self._trouble = ""  # of the period before

    def say(self, name: str, text: str) -> None:
        """Tell of something that happens seldom."""
        self._found.append((name, text))
        self._note(name, text)

    def last(self, name: str, text: str) -> None:
        """Tell of a trouble in this period; one that lasts is told when it begins."""
        if name != self._trouble:
            self._trouble = name
            self.count(name, text)

    def count(self, name: str, text: str) -> None:
        """Tell the first, second, fourth, eighth, ... of an episode."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count & (count - 1) == 0:
            self.say(name, f"{text}; {count} times so far" if count > 1 else text)

    def well(self) -> None:
        """Note a period without trouble."""
        self._trouble = ""

    def restart(self) -> None:
        """Note the start of an episode."""
        self._counts, self._trouble = {}, ""

    def take(self) -> list[tuple[str, str]]:
        """What has been told since the last call."""
        found, self._found = self._found, []
        return found


E = TypeVar("E")


@dataclass
class _Allowance(Generic[E]):
    """Of one peer: entries that it may still cause, as of `at` [s]; what was left out, by kind."""

    left: float
    at: float
    left_out: dict[object, tuple[E, int]] = field(default_factory=dict)


class PeerThrottle(Generic[E]):
    """Bounds the entries (log lines, events) that each peer causes: BURST at once, RATE a second.

    Of every kind that is left out the latest entry is kept, with a count, and comes with `due`: the
    last word about a stop always arrives. A new peer takes its first entries from the allowance of
    all peers without a session, so that connecting again and again gains nothing. now: the
    monotonic clock [s].
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._allowances: dict[bytes, _Allowance[E]] = {}

    def admit(self, cause: bytes, kind: object, entry: E) -> bool:
        """Whether this entry may be written now. cause: address of the peer; b"" for all peers
        without a session, which share one allowance."""
        own = self._refill(cause)
        if own.left >= 1 and kind not in own.left_out:
            own.left -= 1
            return True
        _leave_out(own, kind, entry, 1)
        return False

    def leave(self, cause: bytes) -> None:
        """A peer has left: peers without a session take over what was left out of its entries."""
        own = self._allowances.pop(cause, None)
        if own is not None and own.left_out:
            strangers = self._refill(b"")
            for kind, (entry, count) in own.left_out.items():
                _leave_out(strangers, kind, entry, count)

    def due(self) -> Iterator[tuple[E, int]]:
        """Entries that were left out and may be written now, and how many of each kind there
        were."""
        for cause in list(self._allowances):
            own = self._refill(cause)
            while own.left_out and own.left >= 1:
                own.left -= 1
                yield own.left_out.pop(next(iter(own.left_out)))

    def _refill(self, cause: bytes) -> _Allowance[E]:
        now = self._now()
        own = self._allowances.get(cause)
        if own is None:
            start: float = BURST
            if cause:
                strangers = self._refill(b"")
                start = min(START, strangers.left)
                strangers.left -= start
            own = self._allowances[cause] = _Allowance(start, now)
        own.left = min(BURST, own.left + (now - own.at) * RATE)
        own.at = now
        return own


def _leave_out(own: _Allowance[E], kind: object, entry: E, count: int) -> None:
    kept = kind if kind in own.left_out or len(own.left_out) < KINDS else None
    own.left_out[kept] = entry, own.left_out.get(kept, (entry, 0))[1] + count
