"""Options of an environment's reset: the tasks, or the split to draw them from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adapt.errors import AcclimateError
from sim.core.parameter import Split, check_split
from sim.core.task_space import Task, TaskSpace


def tasks_for_reset(
    options: Mapping[str, Any] | None,
    space: TaskSpace,
    n: int,
    split: Split,
    rng: np.random.Generator,
) -> list[Task]:
    """The n tasks that reset's options ask for.

    Args:
        options: `task`: a Task, or values by name that replace the nominal ones, or a sequence of
            n of either; `split`: where to draw from if there is no `task`, instead of `split`.
        space: of the tasks.
        n: number of worlds.
        split: where to draw from unless the options say otherwise.
        rng: for the draw; not used if the options name the tasks.
    """
    options = options or {}
    unknown = sorted(set(options) - {"task", "split"})
    if unknown:
        raise AcclimateError(f"reset options {unknown} are unknown; there are ['split', 'task']")
    split = check_split(options.get("split", split))
    given = options.get("task")
    if given is None:
        return space.sample(n, rng, split)
    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) != n:
            raise AcclimateError(f"option task: {n} worlds need as many tasks, got {len(given)}")
        return [_task(t, space) for t in given]
    return [_task(given, space)] * n


def _task(given: object, space: TaskSpace) -> Task:
    if isinstance(given, Mapping):
        return space.task(**given)
    if not isinstance(given, Task):
        raise AcclimateError(
            "option task: expected a Task or a mapping of values by name, "
            f"got {type(given).__name__}"
        )
    if given.space.names != space.names:
        raise AcclimateError(
            f"option task: a task of {given.space.name!r}, expected one of {space.name!r}"
        )
    # Check again: the ranges of that space may differ.
    return Task(space, given.values)
