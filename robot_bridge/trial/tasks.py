"""The tasks of a trial: what became of each, and which of them show adaptation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, groupby, zip_longest

from robot_bridge.trial.folder import EpisodeLine
from robot_bridge.trial.statistics import judge

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


def judged_by(task: Task) -> str:
    """The measure that judges every episode of a task; "" for success."""
    name = judge(line.outcome for line in task)
    return name if all(name in line.outcome.measures for line in task) else ""


def scores(task: Task) -> list[float]:
    """Of each episode, the measure that judges it; 1 or 0 where success does."""
    name = judged_by(task)
    return [line.outcome.measures[name] if name else line.outcome.success for line in task]


def kind(task: Task) -> str:
    """What became of a task: one of KINDS, or the measure that judges it, first and last."""
    if name := judged_by(task):
        ends = scores(task)[:: max(len(task) - 1, 1)]
        return f"{name.replace('_', ' ')} {' → '.join(f'{end:.4g}' for end in ends)}"
    wins = [line.outcome.success for line in task]
    if all(wins):
        return KINDS[3]
    if not any(wins):
        return KINDS[2]
    return KINDS[0] if wins[-1] and not wins[0] else KINDS[1]


def ranked(groups: Sequence[Sequence[Task]]) -> list[Task]:
    """All tasks, those that show adaptation first: by their kind, then by the time that they
    gained, or by what they gained in the measure that judges them; one of each group in turn."""

    def rank(task: Task) -> tuple[int, float, int]:
        if judged_by(task):
            return 0, scores(task)[0] - scores(task)[-1], task[0].task
        gain = task[0].outcome.duration - task[-1].outcome.duration
        return KINDS.index(kind(task)), -gain, task[0].task

    turns = zip_longest(*(sorted(group, key=rank) for group in groups))
    return [task for task in chain.from_iterable(turns) if task is not None]
