"""The task families by name: what the learner, the benchmarks and the twin may ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from adapt.errors import AcclimateError
from sim.insertion import SPACE, SPEC, InsertionWorlds, task_factors
from sim.scripted import Demonstrations
from sim.tasks import Task, TaskSpace
from sim.worlds import Worlds, WorldSpec


class Script(Protocol):
    """A controller that fills a replay before there is a policy."""

    def begin(self, which: np.ndarray) -> None:
        """An episode begins in worlds (B,)."""
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, n_a) in [−1, 1]."""
        ...


@dataclass(frozen=True)
class Family:
    """A task space, its worlds, and the script that starts a replay.

    make: (worlds, seed, threads) → worlds.
    script: (worlds, generator) → script.
    factors: a task's standardised factors (n_f,).
    """

    space: TaskSpace
    spec: WorldSpec
    make: Callable[[int, int, int], Worlds]
    script: Callable[..., Script]
    factors: Callable[[Task], np.ndarray]


FAMILIES: dict[str, Family] = {
    "insertion": Family(SPACE, SPEC, InsertionWorlds, Demonstrations, task_factors),
}


def family(name: str) -> Family:
    if name not in FAMILIES:
        raise AcclimateError(f"no task family {name!r}; there are {sorted(FAMILIES)}")
    return FAMILIES[name]
