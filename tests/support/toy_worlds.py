"""Worlds small enough to reason about: find a hidden number on a line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adapt.bundle.fields import ActionField, Factor, Field
from sim.core.family import Family
from sim.core.parameter import Parameter
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Step, WorldSpec

SPACE = TaskSpace("toy", (Parameter("goal", "m", -1.0, 1.0),))
SPEC = WorldSpec(
    name="toy",
    observation=(Field("position", (1,), "m", -5.0, 5.0),),
    action=(ActionField("velocity", (), "m", -1.0, 1.0, 1.0),),
    factors=(Factor("goal", "m", 0.0, 3**-0.5, 0),),
    control_period=0.1,
    horizon=5,
)


class ToyWorlds:
    """The position moves by the action. Success is to be within 0.25 of the goal; the measured
    reward is how far the goal lies ahead, so one step tells where it is.

    diverge: {(world, call of step)} where the physics is said to fail.
    """

    spec = SPEC

    def __init__(self, worlds: int, seed: int, threads: int = 1) -> None:
        self.worlds, self.rng = worlds, np.random.default_rng(seed)
        self.diverge: set[tuple[int, int]] = set()
        self.calls = 0

    def assign(self, tasks: Sequence[Task]) -> None:
        self.goal = np.array([t["goal"] for t in tasks])
        self.position = np.zeros(self.worlds)
        self.elapsed = np.zeros(self.worlds, int)

    def factors(self) -> np.ndarray:
        return (self.goal * 3**0.5)[:, None].astype(np.float32)

    def reset(self, which: np.ndarray) -> np.ndarray:
        self.position[which] = 0.0
        self.elapsed[which] = 0
        return self._observe()

    def step(self, action: np.ndarray) -> Step:
        self.position = self.position + action[:, 0]
        self.elapsed += 1
        distance = np.abs(self.position - self.goal).astype(np.float32)
        success = distance < 0.25
        diverged = np.array([(w, self.calls) in self.diverge for w in range(self.worlds)])
        self.calls += 1
        return Step(
            observation=self._observe(),
            reward=-distance,
            measured_reward=(self.goal - self.position).astype(np.float32),
            discount=1.0 - success.astype(np.float32),
            truncated=(self.elapsed >= SPEC.horizon) & ~success,
            success=success & ~diverged,
            diverged=diverged,
        )

    def close(self) -> None:
        """Nothing to stop."""

    def _observe(self) -> np.ndarray:
        return self.position[:, None].astype(np.float32)


FAMILY = Family(SPACE, SPEC, ToyWorlds, lambda task: task.values * 3**0.5, judged_by="success")
