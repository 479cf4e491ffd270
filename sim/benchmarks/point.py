"""Point-sparse: find a goal on a half circle; the reward is zero except near the goal.

As PEARL was published on (Rakelly et al. 2019; its code calls it sparse-point-robot). A point in
the plane starts at the circle's centre. Critics see the distance to the goal; the context and the
evaluation see a reward only inside the goal's radius. Differences are listed in docs/tasks.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import mujoco
import numpy as np

from adapt.bundle.fields import ActionField, Factor, Field
from sim.core.family import Family
from sim.core.fixed_sets import FixedSets
from sim.core.parameter import Parameter
from sim.core.scene import Scene, View
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Step, Worlds, WorldSpec, check_action

STEP = 0.1
"""Largest move along each axis per control period [m]."""
HORIZON = 20
CIRCLE = 1.0
"""Distance of every goal from the start [m]."""
GOAL_RADIUS = 0.2
"""Distance from the goal within which there is a measured reward [m]."""

SPACE = TaskSpace(
    "point-sparse",
    (Parameter("angle", "rad", 0.0, math.pi, nominal=math.pi / 2),),
    {"ranges": "Rakelly et al. 2019 (arXiv 1903.08254), code katerakelly/oyster"},
    FixedSets(train=80, held_out=20),
)

FACTORS = (
    # Mean and standard deviation of the cosine and the sine of an angle uniform in [0, π].
    Factor("goal_x", "m", 0.0, CIRCLE * math.sqrt(0.5), 0),
    Factor("goal_y", "m", CIRCLE * 2 / math.pi, CIRCLE * math.sqrt(0.5 - 4 / math.pi**2), 1),
)

FRAME = "the circle's centre, where every episode starts; goals lie at y >= 0"
SPEC = WorldSpec(
    name="point-sparse",
    # A whole episode in one direction leads 2 m away.
    observation=(
        Field(
            "position",
            (2,),
            "m",
            -2.5,
            2.5,
            description="of the point",
            frame=FRAME,
            elements=("x", "y"),
        ),
    ),
    action=tuple(
        ActionField(
            axis,
            (),
            "m",
            -STEP,
            STEP,
            STEP,
            description=f"how far the point moves along {axis} in this period",
            frame=FRAME,
        )
        for axis in ("x", "y")
    ),
    reward="1 - the distance to the goal [m] within 0.2 m of it, else 0",
    factors=FACTORS,
    control_period=0.1,
    horizon=HORIZON,
)


def goal(task: Task) -> np.ndarray:
    """The task's goal (2,) [m]."""
    return CIRCLE * np.array([math.cos(task["angle"]), math.sin(task["angle"])])


def task_factors(task: Task) -> np.ndarray:
    """The goal (2,), standardised as `FACTORS` says."""
    return (goal(task) - [f.offset for f in FACTORS]) / [f.scale for f in FACTORS]


class PointWorlds:
    """B points, each with a goal of its own. See `sim.core.worlds.Worlds`.

    The worlds are deterministic, and an episode lasts its whole horizon, also at the goal.

    Args:
        worlds: number of worlds B.
        seed: unused but for `rng`, which every family has.
        threads: unused; there is no physics engine.
    """

    spec = SPEC

    def __init__(self, worlds: int, seed: int, threads: int = 1) -> None:
        self.worlds = worlds
        self.rng = np.random.default_rng(seed)

    def assign(self, tasks: Sequence[Task]) -> None:
        if len(tasks) != self.worlds:
            raise ValueError(f"{self.worlds} worlds need as many tasks, got {len(tasks)}")
        self.goal = np.stack([goal(t) for t in tasks])
        self._factors = np.stack([task_factors(t) for t in tasks]).astype(np.float32)
        self.position = np.zeros((self.worlds, 2))
        self.elapsed = np.zeros(self.worlds, int)

    def factors(self) -> np.ndarray:
        return self._factors

    def reset(self, which: np.ndarray) -> np.ndarray:
        self.position[which] = 0.0
        self.elapsed[which] = 0
        return self.position.astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        self.position = self.position + STEP * check_action(action, self.worlds, SPEC)
        self.elapsed += 1
        distance = np.linalg.norm(self.position - self.goal, axis=1)
        inside = distance <= GOAL_RADIUS
        return Step(
            observation=self.position.astype(np.float32),
            reward=(-distance).astype(np.float32),
            measured_reward=np.where(inside, 1.0 - distance, 0.0).astype(np.float32),
            discount=np.ones(self.worlds, np.float32),
            truncated=self.elapsed >= HORIZON,
            success=inside,
            diverged=np.zeros(self.worlds, bool),
        )

    def scene(self, world: int) -> Scene:
        return point_scene()

    def configuration(self, world: int) -> np.ndarray:
        return np.concatenate([self.position[world], self.goal[world]])

    def close(self) -> None:
        """Nothing to stop."""


@cache
def point_scene() -> Scene:
    """The plane from above: the point, its start, and the disc within which the goal is felt."""
    model = mujoco.MjModel.from_xml_string(f"""<mujoco><worldbody>
      <geom type="cylinder" size="0.02 0.001" rgba="0.5 0.5 0.5 1"/>
      <body><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/>
        <geom type="cylinder" size="0.05 0.02" pos="0 0 0.03" rgba="0.2 0.4 0.7 1"/></body>
      <body><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/>
        <geom type="cylinder" size="{GOAL_RADIUS} 0.005" rgba="0.3 0.7 0.4 1"/></body>
    </worldbody></mujoco>""")
    return Scene(model, model.geom_rgba.copy(), View((0.0, 0.5, 0.0), 4.5, 90.0, -89.0, 0.1))


class Wander:
    """Fills a replay: every episode is a noisy walk in a random direction.

    Uniform actions would stay near the start: no context would contain a goal, and the encoder
    could not learn from it.

    Args:
        worlds: the points.
        rng: picks directions and noise.
    """

    NOISE = 0.3

    def __init__(self, worlds: Worlds, rng: np.random.Generator) -> None:
        self.rng = rng
        self._direction = np.zeros((worlds.worlds, 2))

    def begin(self, which: np.ndarray) -> None:
        """An episode begins in worlds (B,)."""
        angle = self.rng.uniform(-math.pi, math.pi, len(which))
        drawn = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        self._direction = np.where(which[:, None], drawn, self._direction)

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, 2)."""
        noise = self.NOISE * self.rng.normal(size=self._direction.shape)
        return np.clip(self._direction + noise, -1.0, 1.0)


class Privileged:
    """Knows the goal and walks there straight: the ceiling."""

    def act(self, worlds: PointWorlds) -> np.ndarray:
        """Action (B, 2)."""
        return np.clip((worlds.goal - worlds.position) / STEP, -1.0, 1.0)


FAMILY = Family(SPACE, SPEC, PointWorlds, task_factors, Wander)
