"""Changes of a task within an episode: when which of its values change.

start: {terrain: flat, friction: 0.8}     # replaces these in every task
changes:
  - {at: 4, text: ice, values: {ice: 0.6}}
  - {at: 8, text: 8 kg on one side, values: {ice: 0, payload: 8, payload_y: 0.06}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

import msgspec
import numpy as np
import yaml
from msgspec import Meta

from adapt.errors import AcclimateError
from sim.core.parameter import TaskSpaceError
from sim.core.task_space import Task

Values = dict[str, float | str]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """at: from the episode's start [s]. values: by parameter, a choice by its name; what is not
    named stays as it was. text: what happens, in a few words."""

    at: Annotated[float, Meta(gt=0.0, le=1e6)]
    values: Values
    text: str = ""


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """start: values that every task has at first. changes: in their order in time."""

    changes: tuple[Change, ...] = ()
    start: Values = {}

    def tasks(self, task: Task) -> list[tuple[float, Task]]:
        """The task that begins, at 0 s, and those that it becomes, each with its time [s].

        Raises AcclimateError for values that its space does not have, or times out of order.
        """
        found, last = [(0.0, _replaced(task, self.start, "start"))], 0.0
        for change in self.changes:
            if change.at <= last:
                raise AcclimateError(
                    f"schedule: a change at {change.at:g} s follows one at {last:g} s; expected "
                    "times that rise"
                )
            last = change.at
            where = f"the change at {change.at:g} s"
            found.append((last, _replaced(found[-1][1], change.values, where)))
        return found

    def save(self, path: Path) -> None:
        """Write as YAML."""
        path.write_text(yaml.safe_dump(msgspec.to_builtins(self), sort_keys=False))


def read_schedule(path: Path) -> Schedule:
    """The schedule in a YAML file. Raises AcclimateError naming the file and what is wrong."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), Schedule)
    except OSError as error:
        raise AcclimateError(f"schedule={path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise AcclimateError(f"schedule={path}: {error}") from error


def _replaced(task: Task, values: Mapping[str, float | str], where: str) -> Task:
    try:
        space, row = task.space, np.array(task.values)
        for name, value in values.items():
            row[space.index(name)] = space.task(**{name: value})[name]
        return Task(space, row)
    except TaskSpaceError as error:
        raise AcclimateError(f"schedule, {where}: {error}") from error


@runtime_checkable
class Changeable(Protocol):
    """Worlds whose tasks may change within an episode."""

    def change(self, which: np.ndarray, tasks: list[Task]) -> None:
        """Give the worlds where which (B,) is True other tasks; raises AcclimateError for one that
        an episode cannot change to."""
        ...


def changeable(family: str, worlds: object) -> Changeable:
    """The worlds of a family, if they can change. Raises AcclimateError."""
    if isinstance(worlds, Changeable):
        return worlds
    raise AcclimateError(
        f"schedule: family {family!r} cannot change its tasks within an episode; its worlds need "
        "the method change of sim.core.schedule.Changeable"
    )
