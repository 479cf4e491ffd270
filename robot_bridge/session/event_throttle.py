"""What people are told of one robot: what lasts, once; what repeats, ever more seldom."""

from __future__ import annotations

from collections.abc import Callable


class Notices:
    """(name, text) of what happened, until somebody takes them. note: hears of each at once."""

    def __init__(self, note: Callable[[str, str], None]) -> None:
        self._note = note
        self._found: list[tuple[str, str]] = []
        self._counts: dict[str, int] = {}  # by name, in this episode
        self._trouble = ""  # of the period before

    def say(self, name: str, text: str) -> None:
        """Something that happens seldom."""
        self._found.append((name, text))
        self._note(name, text)

    def last(self, name: str, text: str) -> None:
        """A trouble of this period; one that lasts is told when it begins."""
        if name != self._trouble:
            self._trouble = name
            self.count(name, text)

    def count(self, name: str, text: str) -> None:
        """The first, second, fourth, ... of an episode: what comes with every other period must
        not drown the rest."""
        count = self._counts[name] = self._counts.get(name, 0) + 1
        if count & (count - 1) == 0:
            self.say(name, f"{text}; {count} times so far" if count > 1 else text)

    def well(self) -> None:
        """No trouble in this period."""
        self._trouble = ""

    def restart(self) -> None:
        """Another episode."""
        self._counts, self._trouble = {}, ""

    def take(self) -> list[tuple[str, str]]:
        """What has been told since the last call."""
        found, self._found = self._found, []
        return found
