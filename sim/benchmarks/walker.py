"""Walker-params: walk with a body whose masses, inertias, dampings and frictions are unknown.

Walker-2D-Params as PEARL was published on it (Rakelly et al. 2019), from code
dennisl88/rand_param_envs. Differences are listed in docs/tasks.md.
"""

from __future__ import annotations

import copy
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
    VELOCITY_REWARD,
    RunnerWorlds,
    load_model,
)
from sim.core.family import Family
from sim.core.fixed_sets import FixedSets
from sim.core.parameter import Parameter
from sim.core.task_space import Task, TaskSpace
from sim.core.worlds import WorldSpec

SUBSTEPS, TIMESTEP = 4, 0.004
TORQUE = 100.0
"""Of every joint [N·m]."""
LIMBS = ("thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left")
BODIES = ("torso", *LIMBS)
CONTROL_COST, SURVIVAL = 1e-3, 1.0
HEALTHY_LOW, HEALTHY_HIGH, HEALTHY_PITCH = 0.8, 2.0, 1.0
"""Heights of the torso [m] and the angle [rad] outside which the episode ends."""
SPEED_CLIP = 10.0
"""Velocities are observed up to this [m/s, rad/s]."""
START_NOISE = 0.005

BASES = {"mass": 1.5, "inertia": 1.5, "damping": 1.3, "friction": 1.5}
EXPONENT = 3.0
"""Every multiplier is its base to a power that is uniform in ± this."""
PARTS = {
    "mass": BODIES,
    "inertia": BODIES,
    "damping": LIMBS,
    "friction": ("floor", *BODIES),
}


def _parameter(kind: str, part: str) -> Parameter:
    reach = BASES[kind] ** EXPONENT
    return Parameter(f"{kind}_{part}", "1", 1 / reach, reach, "log", 1.0)


def _factor(index: int, parameter: Parameter) -> Factor:
    # Standard deviation of a uniform logarithm.
    scale = math.log(parameter.high / parameter.low) / math.sqrt(12)
    return Factor(parameter.name, "log 1", 0.0, scale, index)


SPACE = TaskSpace(
    "walker-params",
    tuple(_parameter(kind, part) for kind, parts in PARTS.items() for part in parts),
    {"ranges": "Rakelly et al. 2019 (arXiv 1903.08254), code dennisl88/rand_param_envs"},
    FixedSets(train=40, held_out=10),
)
FACTORS = tuple(_factor(i, p) for i, p in enumerate(SPACE.parameters))

SPEC = WorldSpec(
    name="walker-params",
    observation=(
        Field("height", (), "m", -ANYWHERE, ANYWHERE, description="z of the torso", frame=FRAME),
        Field(
            "pitch",
            (),
            "rad",
            -ANYWHERE,
            ANYWHERE,
            description="of the torso, about y",
            frame=FRAME,
        ),
        Field("joint_position", (6,), "rad", -JOINT_BOUND, JOINT_BOUND, elements=LIMBS),
        Field(
            "velocity",
            (9,),
            "m/s, rad/s",
            -SPEED_CLIP,
            SPEED_CLIP,
            description="of the torso and of the joints, clipped to ± 10",
            frame=FRAME,
            elements=("x", "z", "pitch", *LIMBS),
        ),
    ),
    action=tuple(
        ActionField(
            n, (), "N·m", -TORQUE, TORQUE, TORQUE, description=f"torque of the joint of the {n}"
        )
        for n in LIMBS
    ),
    reward=f"v + 1 - 0.001 |a|²; {VELOCITY_REWARD}. An episode ends, terminal, when the torso "
    "leaves 0.8 to 2 m or its pitch ± 1 rad.",
    factors=FACTORS,
    control_period=SUBSTEPS * TIMESTEP,
    horizon=HORIZON,
)


@cache
def nominal_model() -> mujoco.MjModel:
    """The walker before anything is multiplied."""
    model = load_model("walker2d")
    # As in the published environments; Gymnasium's own step is half of it.
    model.opt.timestep = TIMESTEP
    return model


def walker_model(task: Task) -> mujoco.MjModel:
    """The task's walker: the nominal one, its parameters multiplied."""
    model = copy.copy(nominal_model())
    for body in BODIES:
        row = model.body(body).id
        model.body_mass[row] *= task[f"mass_{body}"]
        model.body_inertia[row] *= task[f"inertia_{body}"]
    for limb in LIMBS:
        model.dof_damping[model.joint(f"{limb}_joint").dofadr] *= task[f"damping_{limb}"]
    for part in PARTS["friction"]:
        geom = part if part == "floor" else f"{part}_geom"
        # Contacts take the larger of two friction coefficients.
        model.geom_friction[model.geom(geom).id] *= task[f"friction_{part}"]
    # What follows from masses: the scales by which constraints are softened.
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def task_factors(task: Task) -> np.ndarray:
    """Logarithms of the multipliers (n_f,), standardised as `FACTORS` says."""
    return np.log(task.values) / [f.scale for f in FACTORS]


class WalkerParamsWorlds(RunnerWorlds):
    """Walk forward as fast as possible without falling."""

    spec = SPEC
    substeps = SUBSTEPS
    asset = "walker2d"

    def _model(self, task: Task) -> mujoco.MjModel:
        return walker_model(task)

    def _goal_of(self, task: Task) -> Sequence[float]:
        return ()

    def _factors_of(self, task: Task) -> np.ndarray:
        return task_factors(task)

    def _start(self, n: int, n_v: int) -> tuple[np.ndarray, np.ndarray]:
        position = self.rng.uniform(-START_NOISE, START_NOISE, (n, len(self._nominal)))
        return position, self.rng.uniform(-START_NOISE, START_NOISE, (n, n_v))

    def _observe(self) -> np.ndarray:
        velocity = np.clip(self.sim.qvel, -SPEED_CLIP, SPEED_CLIP)
        return np.concatenate([self.sim.qpos[:, 1:], velocity], axis=1)

    def _reward(self, before: np.ndarray, action: np.ndarray) -> np.ndarray:
        forward = self._velocity(before)[:, 0]
        return forward + SURVIVAL - CONTROL_COST * (action**2).sum(axis=1)

    def _fallen(self) -> np.ndarray:
        height, pitch = self.sim.qpos[:, 1], self.sim.qpos[:, 2]
        upright = (height > HEALTHY_LOW) & (height < HEALTHY_HIGH)
        return ~(upright & (np.abs(pitch) < HEALTHY_PITCH))


FAMILY = Family(SPACE, SPEC, WalkerParamsWorlds, task_factors)
