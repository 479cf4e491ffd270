"""The legs of a quadruped that hangs by its trunk, off the ground.

The trunk's lean is not known to a degree: gravity's direction is estimated beside the other
quantities. What the trunk carries does not move the joints; `standing` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import mujoco
import numpy as np

from calibration.joints.robot import (
    GRAVITY,
    JointRobot,
    Layout,
    Load,
    Motion,
    joint_priors,
    link_masses,
)
from calibration.legs.body import LegsBody, go2_body
from calibration.parameters import Prior, Priors
from sim.robots import go2

DELAY = Prior("delay", "s", 0.01, 0.5, "log")
"""Between a command and its effect."""
LEAN = ("lean_x", "lean_y")
"""Turns of the trunk about its x and y axis [rad]."""
RANGE_MARGIN = 0.1
"""That a motion keeps from the ends of the joints' ranges [rad]."""
FEET_APART = 0.1
"""Least distance between two feet [m]: legs do not collide in the model."""
BELOW = 0.1
"""Least distance of a foot below the trunk's middle [m]."""

WIDEN = {"armature": 1.5, "damping": 1.15, "friction": 2.0, "encoder_bias": 1.2}
"""See `Prior`; chosen on legs 1000 to 1007 of benchmarks/bench_calibration.py, which reports on
others."""


def legs_priors(body: LegsBody) -> Priors:
    """What is believed of legs before they have moved."""
    items = joint_priors(
        go2.JOINTS, body.nominal, gain_error=0.3, bias=0.02, delay=DELAY, widen=WIDEN
    )
    items += [Prior(name, "rad", 0.0, 0.03, nuisance=True) for name in LEAN]
    return Priors((*items, *link_masses(go2.JOINTS)))


def legs_model(body: LegsBody | None = None) -> LegsModel:
    """Of a body, or of ours."""
    body = body or go2_body()
    return LegsModel(legs_priors(body), body)


@dataclass(frozen=True)
class LegsModel(JointRobot):
    """The quadruped, held by its trunk."""

    kind: ClassVar[str] = "robot"

    body: LegsBody

    @property
    def layout(self) -> Layout:
        return self.body.layout

    def build(self) -> mujoco.MjModel:
        return self.body.hanging()

    def apply_body(self, model: mujoco.MjModel, values: np.ndarray) -> None:
        x, y = (self.scalar(values, name) for name in LEAN)
        # A lean of the trunk by small angles turns gravity the other way in its frame.
        model.opt.gravity[:] = GRAVITY * y, -GRAVITY * x, -GRAVITY

    def unsafe(self, q: np.ndarray) -> str:
        low, high = self.body.quadruped.low, self.body.quadruped.high
        room = np.minimum(q - low, high - q).min(axis=0)
        if room.min() < RANGE_MARGIN:
            joint = self.joints[int(room.argmin())]
            return f"brings {joint} within {room.min():.3f} rad of the end of its range"
        data = mujoco.MjData(self.model)
        feet = [self.model.site(f"{leg}_foot").id for leg in go2.LEGS]
        trunk = self.model.body("base").pos
        apart = below = np.inf
        for position in q:
            data.qpos[:] = position
            mujoco.mj_kinematics(self.model, data)
            places = data.site_xpos[feet]
            between = np.linalg.norm(places[:, None] - places, axis=2) + 9.0 * np.eye(len(feet))
            apart = min(apart, float(between.min()))
            below = min(below, float((trunk - places)[:, 2].min()))
        if apart < FEET_APART:
            return f"brings two feet within {apart:.3f} m of each other"
        if below < BELOW:
            return f"lifts a foot to {below:.3f} m below the trunk's middle"
        return ""

    def loads(self, motion: Motion) -> list[Load]:
        empty = self.link_torques(motion)
        found = []
        for leg in go2.LEGS:
            calf = f"{leg}_calf"
            twice = self.link_torques(motion, **{f"link_mass.{calf}": 2.0})
            own = float(self.model.body_mass[self.model.joint(calf).bodyid[0]])
            found.append(Load(calf, (twice - empty) / own, {}))
        return found
