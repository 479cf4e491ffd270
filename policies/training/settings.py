"""The settings that every training run has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1)]


@dataclass(frozen=True)
class TrainSettings:
    """What `acclimate train` is told, whatever the algorithm; each adds its own (config.py).

    name: of the run; its folder is `out`.
    algorithm: its name.
    family: of tasks: a name of ours, or package.module:NAME (docs/families.md).
    space: file of a measured task space, as `acclimate calibrate` writes it; tasks are drawn from
        what it measured of the family's parameters. Empty takes the family's ranges.
    train_tasks: drawn from the training split, or the family's fixed set.
    iterations: each collects and updates.
    validation_tasks: fresh draws from the *training* split that choose the checkpoint to keep.
    validation_every, checkpoint_every: iterations.
    seed: of everything: tasks, weights, noise, batches.
    threads: of the physics and of torch; they take turns.
    """

    name: str
    out: Path
    algorithm: str
    family: str
    train_tasks: Count
    iterations: Count
    validation_tasks: Count
    validation_every: Count
    checkpoint_every: Count
    seed: Annotated[int, Meta(ge=0)] = 0
    threads: Count = 2
    space: Path | None = None
