"""A four-legged body of twelve joints, as the locomotion worlds step it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mujoco
import numpy as np

from sim.robots import go2


@dataclass(frozen=True, eq=False)
class Quadruped:
    """A body on its ground, compiled, before any task.

    In the model, joints, actuators, feet (geoms and sites) and sensors have the names, the order
    and the signs of `sim.robots.go2`; its base is the body "base" with a free joint, its payload
    the body "payload".

    stance: (12,) joint angles at rest [rad]. low, high: (12,) of the joints [rad]. foot_radius [m].
    height: of the base above the ground where an episode starts [m].
    """

    model: mujoco.MjModel
    stance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    foot_radius: float
    height: float

    @cached_property
    def scratch(self) -> mujoco.MjData:
        """For what MuJoCo computes of a model of this body."""
        return mujoco.MjData(self.model)


START_HEIGHT = 0.315
"""Of the base of a Go2-class body [m], 4 mm above where its feet touch: lower, the ground would
throw it, which on ice is a fall."""


def go2_class(model: mujoco.MjModel) -> Quadruped:
    """Our own body, in a model that `sim.robots.go2.add_quadruped` made."""
    low, high = go2.joint_ranges()
    return Quadruped(model, go2.STANCE, low, high, go2.FOOT_RADIUS, START_HEIGHT)
