"""The tasks of a trial: what became of each, and which of them show adaptation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby, zip_longest

from robot_bridge.trial.folder import EpisodeLine

Task = Sequence[EpisodeLine]
"""The episodes of one task, in order."""
KINDS = (
    "failed at first and succeeded in the end",
    "succeeded in some episodes",
    "never succeeded",
    "succeeded every time",
)
"""What became of a task; first what tells most about adaptation."""


def by_task(lines: Iterable[EpisodeLine]) -> list[Task]:
    """The episodes of each task, in order."""
    ordered = sorted(lines, key=lambda line: (line.task, line.episode))
    return [list(group) for _, group in groupby(ordered, key=lambda line: line.task)]


def kind(task: Task) -> str:
    """One of KINDS."""
    wins = [line.outcome.success for line in task]
    if all(wins):
        return KINDS[3]
    if not any(wins):
        return KINDS[2]
    return KINDS[0] if wins[-1] and not wins[0] else KINDS[1]


def ranked(groups: Sequence[Sequence[Task]]) -> list[Task]:
    """All tasks, those that show adaptation first: by their kind, then by the time that they
    gained; one of each group in turn."""

    def rank(task: Task) -> tuple[int, float, int]:
        gain = task[0].outcome.duration - task[-1].outcome.duration
        return KINDS.index(kind(task)), -gain, task[0].task

    turns = zip_longest(*(sorted(group, key=rank) for group in groups))
    return [task for task in chain.from_iterable(turns) if task is not None]
