"""Half-cheetah families: run at a velocity that only the reward tells, or in a direction.

cheetah-vel and cheetah-dir of Finn et al. 2017 (arXiv 1703.03400) as PEARL was published on them
(Rakelly et al. 2019). Differences are listed in docs/tasks.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from sim.core.worlds import WorldSpec

SUBSTEPS, TIMESTEP = 5, 0.01
MASS = 14.0
"""[kg]"""
CONTROL_COST = 0.05
TORQUES = {"bthigh": 120, "bshin": 90, "bfoot": 60, "fthigh": 120, "fshin": 60, "ffoot": 30}
"""Largest torque of each joint [N·m]."""
MAX_VELOCITY = 3.0

PROVENANCE = {"ranges": "Rakelly et al. 2019 (arXiv 1903.08254), code katerakelly/oyster"}
VEL_SPACE = TaskSpace(
    "cheetah-vel",
    (Parameter("velocity", "m/s", 0.0, MAX_VELOCITY, nominal=MAX_VELOCITY / 2),),
    PROVENANCE,
    FixedSets(train=100, held_out=30),
)
DIRECTIONS = ("backward", "forward")
DIR_SPACE = TaskSpace(
    "cheetah-dir",
    (Parameter("direction", "1", 0, 1, "choice", 1, DIRECTIONS),),
    PROVENANCE,
    # Training sees both directions, so none is held out.
    FixedSets(train=2, held_out=0),
)
VEL_FACTORS = (Factor("velocity", "m/s", MAX_VELOCITY / 2, MAX_VELOCITY / math.sqrt(12), 0),)
DIR_FACTORS = (Factor("direction", "1", 0.0, 1.0, 0),)


def _spec(name: str, factors: tuple[Factor, ...], reward: str) -> WorldSpec:
    return WorldSpec(
        name=name,
        observation=(
            Field(
                "height",
                (),
                "m",
                -ANYWHERE,
                ANYWHERE,
                description="z of the torso less its z in the model's initial pose",
                frame=FRAME,
            ),
            Field(
                "pitch",
                (),
                "rad",
                -ANYWHERE,
                ANYWHERE,
                description="of the torso, about y",
                frame=FRAME,
            ),
            Field(
                "joint_position", (6,), "rad", -JOINT_BOUND, JOINT_BOUND, elements=tuple(TORQUES)
            ),
            Field(
                "velocity",
                (9,),
                "m/s, rad/s",
                -SPEED_BOUND,
                SPEED_BOUND,
                description="of the torso and of the joints",
                frame=FRAME,
                elements=("x", "z", "pitch", *TORQUES),
            ),
        ),
        action=tuple(
            ActionField(n, (), "N·m", -t, t, t, description=f"torque of the joint {n}")
            for n, t in TORQUES.items()
        ),
        reward=reward,
        factors=factors,
        control_period=SUBSTEPS * TIMESTEP,
        horizon=HORIZON,
    )


VEL_SPEC = _spec(
    "cheetah-vel", VEL_FACTORS, f"-abs(v - the task's velocity) - 0.05 |a|²; {VELOCITY_REWARD}"
)
DIR_SPEC = _spec(
    "cheetah-dir", DIR_FACTORS, f"v forward or -v backward, less 0.05 |a|²; {VELOCITY_REWARD}"
)


@cache
def cheetah_model() -> mujoco.MjModel:
    """The half-cheetah. All worlds share it, because tasks do not change the body."""
    return load_model("half_cheetah", MASS)


def vel_factors(task: Task) -> np.ndarray:
    """The target velocity (1,), standardised as `VEL_FACTORS` says."""
    return np.array([(task["velocity"] - VEL_FACTORS[0].offset) / VEL_FACTORS[0].scale])


def dir_factors(task: Task) -> np.ndarray:
    """1 for forward, −1 for backward, (1,)."""
    return np.array([1.0 if task.choice("direction") == "forward" else -1.0])


class _CheetahWorlds(RunnerWorlds):
    substeps = SUBSTEPS
    asset = "half_cheetah"

    def _model(self, task: Task) -> mujoco.MjModel:
        return cheetah_model()

    def _observe(self) -> np.ndarray:
        return np.concatenate([self.sim.qpos[:, 1:], self.sim.qvel], axis=1)

    def _forward(self, before: np.ndarray) -> np.ndarray:
        """Mean forward velocity (B,) over the step [m/s]."""
        return self._velocity(before)[:, 0]


class CheetahVelWorlds(_CheetahWorlds):
    """Run forward at the task's velocity; no episode ends before its horizon."""

    spec = VEL_SPEC

    def _goal_of(self, task: Task) -> Sequence[float]:
        return [task["velocity"]]

    def _factors_of(self, task: Task) -> np.ndarray:
        return vel_factors(task)

    def _reward(self, before: np.ndarray, action: np.ndarray) -> np.ndarray:
        error = np.abs(self._forward(before) - self._goal[:, 0])
        return -error - CONTROL_COST * (action**2).sum(axis=1)


class CheetahDirWorlds(_CheetahWorlds):
    """Run as fast as possible in the task's direction; no episode ends before its horizon."""

    spec = DIR_SPEC

    def _goal_of(self, task: Task) -> np.ndarray:
        return dir_factors(task)

    def _factors_of(self, task: Task) -> np.ndarray:
        return dir_factors(task)

    def _reward(self, before: np.ndarray, action: np.ndarray) -> np.ndarray:
        along = self._goal[:, 0] * self._forward(before)
        return along - CONTROL_COST * (action**2).sum(axis=1)


VEL_FAMILY = Family(VEL_SPACE, VEL_SPEC, CheetahVelWorlds, vel_factors)
DIR_FAMILY = Family(DIR_SPACE, DIR_SPEC, CheetahDirWorlds, dir_factors)
