"""The task families by name: what the learner, the benchmarks and the twin may ask for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from adapt.errors import AcclimateError
from sim.benchmarks import ant, cheetah, point, walker
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Worlds, WorldSpec
from sim.insertion import worlds as insertion
from sim.insertion.scripted import Demonstrations


class Script(Protocol):
    """A controller that fills a replay before there is a policy."""

    def begin(self, which: np.ndarray) -> None:
        """An episode begins in worlds (B,)."""
        ...

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, n_a) in [−1, 1]."""
        ...


class UniformActions:
    """Fills a replay where there is no better script: actions uniform in [−1, 1]."""

    def __init__(self, worlds: Worlds, rng: np.random.Generator) -> None:
        self._shape = (worlds.worlds, worlds.spec.action_size)
        self.rng = rng

    def begin(self, which: np.ndarray) -> None:
        """Every action is drawn alone; an episode's beginning means nothing."""

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, n_a)."""
        return self.rng.uniform(-1.0, 1.0, self._shape)


@dataclass(frozen=True)
class Family:
    """A task space, its worlds, and the script that starts a replay.

    make: (worlds, seed, threads) → worlds.
    factors: a task's standardised factors (n_f,).
    script: (worlds, generator) → script.
    judged_by: what chooses checkpoints and is reported first: the success rate, or the return of
        the measured reward.
    """

    space: TaskSpace
    spec: WorldSpec
    make: Callable[[int, int, int], Worlds]
    factors: Callable[[Task], np.ndarray]
    script: Callable[..., Script] = UniformActions
    judged_by: Literal["success", "return"] = "return"


FAMILIES: dict[str, Family] = {
    "insertion": Family(
        insertion.SPACE,
        insertion.SPEC,
        insertion.InsertionWorlds,
        insertion.task_factors,
        Demonstrations,
        "success",
    ),
    "point-sparse": Family(
        point.SPACE, point.SPEC, point.PointWorlds, point.task_factors, point.Wander
    ),
    "cheetah-vel": Family(
        cheetah.VEL_SPACE, cheetah.VEL_SPEC, cheetah.CheetahVelWorlds, cheetah.vel_factors
    ),
    "cheetah-dir": Family(
        cheetah.DIR_SPACE, cheetah.DIR_SPEC, cheetah.CheetahDirWorlds, cheetah.dir_factors
    ),
    "ant-goal": Family(ant.GOAL_SPACE, ant.GOAL_SPEC, ant.AntGoalWorlds, ant.goal_factors),
    "ant-dir": Family(ant.DIR_SPACE, ant.DIR_SPEC, ant.AntDirWorlds, ant.dir_factors),
    "walker-params": Family(
        walker.SPACE, walker.SPEC, walker.WalkerParamsWorlds, walker.task_factors
    ),
}


def family(name: str) -> Family:
    """A family of ours by its name, or anybody's by `package.module:NAME` (docs/families.md).

    Raises AcclimateError when there is none.
    """
    if ":" in name:
        return _elsewhere(name)
    if name not in FAMILIES:
        raise AcclimateError(
            f"no task family {name!r}; there are {sorted(FAMILIES)}, and package.module:NAME for "
            "one of your own"
        )
    return FAMILIES[name]


def _elsewhere(name: str) -> Family:
    """The `Family` that a module holds under a name."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    # An empty or a relative name has errors of its own.
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        raise AcclimateError(
            f"task family {name!r}: {error}; install its package, or name its folder in PYTHONPATH"
        ) from error
    if not isinstance(found, Family):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise AcclimateError(
            f"task family {name!r}: {module} holds {what} under {attribute!r}; expected a Family"
        )
    return found
