"""Progress of a long command: a bar on a terminal, lines in a file or a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

EVERY = 30.0
"""Between two lines, unless there is news [s]."""


class Progress:
    """Counts up to `total`, from `completed`.

    title: in front of the bar and of each line. console: stdout if none. clock: seconds.
    """

    def __init__(
        self,
        title: str,
        total: int,
        completed: int = 0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._total, self._clock = title, total, clock
        self._console = console or Console()
        self._told = clock()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
        )
        terminal = self._console.is_terminal
        self._bar = Bar(*columns, console=self._console, expand=True, disable=not terminal)
        self._job = self._bar.add_task(title, total=total, completed=completed, text="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, completed: int, text: str = "", news: str = "") -> None:
        """So much is done. text: short, beside the bar. news: more, worth a line of its own."""
        self._bar.update(self._job, completed=completed, text=text)
        now, last = self._clock(), completed == self._total
        if news or (not self._console.is_terminal and (last or now - self._told >= EVERY)):
            self._told = now
            words = [self._title, f"{completed}/{self._total}", text, news]
            # Whole lines, and at once: another program may follow the file.
            self._console.out("  ".join(filter(None, words)), highlight=False)
            self._console.file.flush()
