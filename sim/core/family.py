"""A task family: everything that a learner, an environment, a twin or a film asks of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from adapt.errors import AcclimateError
from sim.core.embodiment import Embodiment
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Worlds, WorldSpec


class Script(Protocol):
    """A controller that fills a replay before there is a policy."""

    def begin(self, which: np.ndarray) -> None:
        """An episode begins in the worlds where which (B,) is True."""
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, n_a) in [−1, 1] for observation (B, n_o)."""
        ...


class UniformActions:
    """The default script: actions uniform in [−1, 1]."""

    def __init__(self, worlds: Worlds, rng: np.random.Generator) -> None:
        self._shape = (worlds.worlds, worlds.spec.action_size)
        self.rng = rng

    def begin(self, which: np.ndarray) -> None:
        """Actions are independent of each other, so there is nothing to prepare."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, n_a)."""
        return self.rng.uniform(-1.0, 1.0, self._shape)


@dataclass(frozen=True)
class Family:
    """A task space, its worlds, and how they are trained in and shown.

    make: (worlds, seed, threads) → worlds.
    factors: a task's standardised factors (n_f,).
    script: (worlds, generator) → script.
    judged_by: what chooses checkpoints and is reported first: the success rate, or the return of
        the measured reward.
    embodiment: how one world stands as a simulated robot; the training world unless given.
    on_robot: (this family, file) → the same family on a robot of the user's own that the file
        describes; raises AcclimateError. None for a family that takes none.
    """

    space: TaskSpace
    spec: WorldSpec
    make: Callable[[int, int, int], Worlds]
    factors: Callable[[Task], np.ndarray]
    script: Callable[..., Script] = UniformActions
    judged_by: Literal["success", "return"] = "return"
    embodiment: Embodiment = field(default_factory=Embodiment)
    on_robot: Callable[[Family, Path], Family] | None = None

    @property
    def bodies(self) -> Mapping[str, Callable[[], Any]]:
        """Makers of one world, by the name of the body that it has; the first is the default."""
        return self.embodiment.bodies or {"simulation": lambda: self.make(1, 0, 1)}

    def one_world(self, body: str = "") -> Any:
        """One world on a body; "" is the default one. Raises AcclimateError for an unknown body."""
        name = body or next(iter(self.bodies))
        if name not in self.bodies:
            raise AcclimateError(
                f"family {self.spec.name!r} has no body {name!r}; expected one of "
                f"{', '.join(self.bodies)}"
            )
        return self.bodies[name]()
