"""The tasks of a trial: what became of each, and which of them show adaptation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby, zip_longest

from robot_bridge.trial.folder import EpisodeLine

Task = Sequence[EpisodeLine]
"""The episodes of one task, in order."""
STORIES = (
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


def story(task: Task) -> str:
    """One of STORIES."""
    wins = [line.outcome.success for line in task]
    if all(wins):
        return STORIES[3]
    if not any(wins):
        return STORIES[2]
    return STORIES[0] if wins[-1] and not wins[0] else STORIES[1]


def telling(groups: Sequence[Sequence[Task]]) -> list[Task]:
    """All tasks, those that show adaptation first: by their story, then by the time that they
    gained; one of each group in turn."""

    def rank(task: Task) -> tuple[int, float, int]:
        gain = task[0].outcome.duration - task[-1].outcome.duration
        return STORIES.index(story(task)), -gain, task[0].task

    turns = zip_longest(*(sorted(group, key=rank) for group in groups))
    return [task for task in chain.from_iterable(turns) if task is not None]
