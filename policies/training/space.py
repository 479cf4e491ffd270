"""The task space that a run trains in: its family's, or one that a calibration has narrowed."""

from __future__ import annotations

from pathlib import Path

from policies.training.settings import TrainSettings
from sim.core.registry import family
from sim.core.task_space import TaskSpace

FILE = "space.yaml"
"""A run folder's own copy of the space that it was given."""


def training_space(settings: TrainSettings) -> TaskSpace:
    """Raises TaskSpaceError for a file that cannot be read, or measures nothing of the family's."""
    space = family(settings.tasks_of).space
    if settings.space is None:
        return space
    return space.narrowed(TaskSpace.load(measured_file(settings)))


def measured_file(settings: TrainSettings) -> Path:
    """The run folder's copy where it has one: a run stays what it was when the file has gone."""
    kept = settings.out / FILE
    return kept if kept.exists() or settings.space is None else settings.space
