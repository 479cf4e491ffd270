"""Ant families: walk to a goal that only the reward tells, or forward or backward.

ant-goal and ant-dir (Ant-Fwd-Back) as PEARL was published on them (Rakelly et al. 2019).
Differences are listed in docs/tasks.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import mujoco
import numpy as np

from adapt.bundle.fields import ActionField, Factor, Field
from sim.benchmarks.running import (
    ANYWHERE,
    FRAME,
    HORIZON,
    JOINT_BOUND,
    SPEED_BOUND,
    VELOCITY_REWARD,
    RunnerWorlds,
    load_model,
)
from sim.core.family import Family
from sim.core.fixed_sets import FixedSets
from sim.core.parameter import Parameter
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import Step, WorldSpec

SUBSTEPS, TIMESTEP = 5, 0.01
TORQUE = 150.0
"""Of every joint [N·m]."""
JOINTS = ("hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3")
"""In the order of the actions."""
JOINT_ORDER = tuple(f"{part}_{leg}" for leg in (1, 2, 3, 4) for part in ("hip", "ankle"))
"""In the order of positions and velocities."""
GOAL_CONTROL_COST, DIR_CONTROL_COST = 0.1, 0.5
SURVIVAL = 1.0
HEALTHY_LOW, HEALTHY_HIGH = 0.2, 1.0
"""Heights of the torso [m] outside which ant-dir ends the episode."""
RADIUS = 3.0
"""Of the disc of goals [m]."""
SHAPING_DISCOUNT = 0.99
"""γ of the potential that critics' rewards of ant-goal are shaped with."""

PROVENANCE = {"ranges": "Rakelly et al. 2019 (arXiv 1903.08254), code katerakelly/oyster"}
GOAL_SPACE = TaskSpace(
    "ant-goal",
    (
        Parameter("distance", "m", 0.0, RADIUS, "area", RADIUS / 2),
        Parameter("angle", "rad", 0.0, 2 * math.pi),
    ),
    PROVENANCE,
    FixedSets(train=150, held_out=30),
)
DIRECTIONS = ("backward", "forward")
DIR_SPACE = TaskSpace(
    "ant-dir",
    (Parameter("direction", "1", 0, 1, "choice", 1, DIRECTIONS),),
    PROVENANCE,
    # Training sees both directions, so none is held out.
    FixedSets(train=2, held_out=0),
)
# A coordinate of a uniform disc of radius R has standard deviation R / 2.
GOAL_FACTORS = (
    Factor("goal_x", "m", 0.0, RADIUS / 2, 0),
    Factor("goal_y", "m", 0.0, RADIUS / 2, 1),
)
DIR_FACTORS = (Factor("direction", "1", 0.0, 1.0, 0),)


def _spec(
    name: str, factors: tuple[Factor, ...], where: tuple[Field, ...], reward: str
) -> WorldSpec:
    return WorldSpec(
        name=name,
        observation=(
            *where,
            Field(
                "height", (), "m", -ANYWHERE, ANYWHERE, description="z of the torso", frame=FRAME
            ),
            Field(
                "orientation",
                (4,),
                "1",
                -1.0,
                1.0,
                description="of the torso",
                frame=FRAME,
                convention="unit quaternion that takes coordinates in the torso to the world",
                elements=("w", "x", "y", "z"),
            ),
            Field("joint_position", (8,), "rad", -JOINT_BOUND, JOINT_BOUND, elements=JOINT_ORDER),
            Field(
                "velocity",
                (14,),
                "m/s, rad/s",
                -SPEED_BOUND,
                SPEED_BOUND,
                description="of the torso and of the joints",
                frame=f"linear velocity: {FRAME}; angular velocity: the torso's own",
                elements=("x", "y", "z", "angular_x", "angular_y", "angular_z", *JOINT_ORDER),
            ),
        ),
        action=tuple(
            ActionField(
                n, (), "N·m", -TORQUE, TORQUE, TORQUE, description=f"torque of the joint {n}"
            )
            for n in JOINTS
        ),
        reward=reward,
        factors=factors,
        control_period=SUBSTEPS * TIMESTEP,
        horizon=HORIZON,
    )


GOAL_SPEC = _spec(
    "ant-goal",
    GOAL_FACTORS,
    (
        Field(
            "position", (2,), "m", -ANYWHERE, ANYWHERE,
            description="of the torso, from the start", frame=FRAME, elements=("x", "y"),
        ),
    ),
    "-(abs(x - goal's x) + abs(y - goal's y)) - 0.1 |a|²; a the actions / scale",
)  # fmt: skip
DIR_SPEC = _spec(
    "ant-dir",
    DIR_FACTORS,
    (),
    f"v forward or -v backward, - 0.5 |a|² + 1; {VELOCITY_REWARD}. An episode ends, terminal, when "
    "the torso leaves 0.2 to 1 m.",
)


@cache
def ant_model() -> mujoco.MjModel:
    """The ant. All worlds share it, because tasks do not change the body."""
    return load_model("ant")


def goal(task: Task) -> np.ndarray:
    """The task's goal (2,) [m]."""
    return task["distance"] * np.array([math.cos(task["angle"]), math.sin(task["angle"])])


def goal_factors(task: Task) -> np.ndarray:
    """The goal (2,), standardised as `GOAL_FACTORS` says."""
    return (goal(task) - [f.offset for f in GOAL_FACTORS]) / [f.scale for f in GOAL_FACTORS]


def dir_factors(task: Task) -> np.ndarray:
    """1 for forward, −1 for backward, (1,)."""
    return np.array([1.0 if task.choice("direction") == "forward" else -1.0])


class _AntWorlds(RunnerWorlds):
    substeps = SUBSTEPS
    asset = "ant"

    def _model(self, task: Task) -> mujoco.MjModel:
        return ant_model()

    def reset(self, which: np.ndarray) -> np.ndarray:
        super().reset(which)
        # The noise has changed the quaternion's length.
        quaternion = self.sim.qpos[which, 3:7]
        quaternion /= np.linalg.norm(quaternion, axis=1, keepdims=True)
        self.sim.qpos[which, 3:7] = quaternion
        return self._observe().astype(np.float32)


class AntGoalWorlds(_AntWorlds):
    """Walk to the task's goal; no episode ends before its horizon.

    The measured reward is the published one, −distance less the control's cost. Critics get it
    shaped by the potential Φ = −distance / (1 − γ), the value of standing there for ever (Ng,
    Harada and Russell 1999). Shaping keeps the optimal policy and rewards a step for its progress;
    without it a step changes a value of about −250 by less than 1.
    """

    spec = GOAL_SPEC

    def _goal_of(self, task: Task) -> np.ndarray:
        return goal(task)

    def _factors_of(self, task: Task) -> np.ndarray:
        return goal_factors(task)

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.sim.qpos, self.sim.qvel], axis=1)

    def step(self, action: np.ndarray) -> Step:
        before = self._distance()
        step = super().step(action)
        gamma = SHAPING_DISCOUNT
        shaping = (before - gamma * self._distance()) / (1 - gamma)
        return replace(step, reward=step.reward + shaping.astype(np.float32))

    def _distance(self) -> np.ndarray:
        """(B,) to the goal, summed over the axes [m]."""
        return np.abs(self.sim.qpos[:, :2] - self._goal).sum(axis=1)

    def _reward(self, before: np.ndarray, action: np.ndarray) -> np.ndarray:
        return -self._distance() - GOAL_CONTROL_COST * (action**2).sum(axis=1)


class AntDirWorlds(_AntWorlds):
    """Walk forward or backward as fast as possible, without falling or leaping."""

    spec = DIR_SPEC

    def _goal_of(self, task: Task) -> Sequence[float] | np.ndarray:
        return dir_factors(task)

    def _factors_of(self, task: Task) -> np.ndarray:
        return dir_factors(task)

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.sim.qpos[:, 2:], self.sim.qvel], axis=1)

    def _reward(self, before: np.ndarray, action: np.ndarray) -> np.ndarray:
        along = self._goal[:, 0] * self._velocity(before)[:, 0]
        return along - DIR_CONTROL_COST * (action**2).sum(axis=1) + SURVIVAL

    def _fallen(self) -> np.ndarray:
        height = self.sim.qpos[:, 2]
        return (height < HEALTHY_LOW) | (height > HEALTHY_HIGH)


GOAL_FAMILY = Family(GOAL_SPACE, GOAL_SPEC, AntGoalWorlds, goal_factors)
DIR_FAMILY = Family(DIR_SPACE, DIR_SPEC, AntDirWorlds, dir_factors)
