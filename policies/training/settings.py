"""The settings that every training run has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from adapt.settings import Count, WholeNumber
from sim.core.registry import on_robot


@dataclass(frozen=True)
class TrainSettings:
    """Settings of `acclimate train` for every algorithm; each adds its own (config.py).

    name: of the run; names its folder, too.
    out: the run's folder.
    algorithm: name of the algorithm.
    family: of tasks: a name of ours, FOLDER/FILE.py:NAME or package.module:NAME (docs/families.md).
    space: file of a measured task space, as `acclimate calibrate` writes it; tasks are drawn from
        what it measured of the family's parameters. null takes the family's ranges.
    robot: file of a robot of your own in the place of the family's (docs/robots.md): for
        locomotion a joint map. null takes the family's.
    train_tasks: number of training tasks, drawn from the training split or the family's fixed set.
    iterations: number of iterations; each collects and updates.
    validation_tasks: tasks, drawn anew from the training split, that choose the networks to keep.
    validation_every: iterations from one validation to the next.
    checkpoint_every: iterations from one checkpoint to the next.
    seed: of everything: tasks, weights, noise, batches.
    threads: of the physics and of torch; they take turns.
    """

    name: Annotated[str, Meta(pattern="^[^/]+$")]
    out: Path
    algorithm: str
    family: str
    train_tasks: Count
    iterations: Count
    validation_tasks: Count
    validation_every: Count
    checkpoint_every: Count
    seed: WholeNumber = 0
    threads: Count = 2
    space: Path | None = None
    robot: Path | None = None

    @property
    def tasks_of(self) -> str:
        """The family on its robot, as `sim.core.registry.family` takes it."""
        return on_robot(self.family, self.robot)
