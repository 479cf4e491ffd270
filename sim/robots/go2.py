"""A Go2-class quadruped built of primitives: twelve position-controlled joints.

Masses, centres of mass, inertias, lengths, joint ranges and torque limits are the maker's, as its
public description has them (Unitree `go2_description`, also in MuJoCo Menagerie's
`unitree_go2/go2.xml`); inertias are rounded to the axes of their bodies. Armature, damping and
friction loss are a public identification of the motors (see docs/tasks.md), averaged over the legs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dm_control import mjcf

LEGS = ("FL", "FR", "RL", "RR")
PARTS = ("hip", "thigh", "calf")
JOINTS = tuple(f"{leg}_{part}" for leg in LEGS for part in PARTS)

HIP_X, HIP_Y = 0.1934, 0.0465
"""A hip's place on the body [m]."""
HIP_LINK, THIGH, SHANK, FOOT_RADIUS = 0.0955, 0.213, 0.213, 0.022
"""Lengths [m]: hip to thigh sideways, thigh, calf to the foot's centre."""
BODY_MASS = 6.921
BODY_BOX = (0.1881, 0.04675, 0.057)
"""Half sizes of the trunk [m]."""
STANCE = np.tile([0.0, 0.85, -1.65], 4)
"""Joint angles [rad] at rest, hip, thigh and calf of each leg."""
KP, KD = 35.0, 1.0
"""Gains of the joints' position control [N·m/rad, N·m·s/rad]. Below 30 the body sags in a trot."""


@dataclass(frozen=True)
class Joint:
    """Of hips, thighs or calves. low, high [rad] (front; `rear` where the rear differs); torque:
    limit [N·m]; armature [kg·m²], damping [N·m·s/rad], friction [N·m]: of the motor."""

    low: float
    high: float
    torque: float
    armature: float
    damping: float
    friction: float
    rear: tuple[float, float] | None = None


TYPES = {
    "hip": Joint(-1.0472, 1.0472, 23.7, 0.020, 0.25, 0.24),
    "thigh": Joint(-1.5708, 3.4907, 23.7, 0.0226, 0.22, 0.23, rear=(-0.5236, 4.5379)),
    "calf": Joint(-2.7227, -0.83776, 45.43, 0.037, 0.27, 0.8),
}
TORQUE_LIMITS = np.array([TYPES[part].torque for _ in LEGS for part in PARTS])


def joint_ranges() -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest angle (12,) of each joint [rad]."""
    ranges = []
    for leg in LEGS:
        for part in PARTS:
            kind = TYPES[part]
            ranges.append(kind.rear if kind.rear and leg[0] == "R" else (kind.low, kind.high))
    low, high = np.array(ranges).T
    return low, high


TOUCH = {"contype": 0, "conaffinity": 1}
"""Of shapes that meet the ground; the robot does not collide with itself."""
LOOK = {"contype": 0, "conaffinity": 0, "group": 1, "mass": 0}
"""Of shapes that are there to be seen."""
GREY, DARK, WHITE = (0.62, 0.64, 0.68, 1), (0.18, 0.19, 0.21, 1), (0.9, 0.9, 0.92, 1)


def add_quadruped(root: mjcf.RootElement) -> mjcf.Element:
    """Add the robot to a model; its base is a free body 0.32 m above the origin.

    Its sensors, in order: four feet's places [m] and velocities [m/s] (framepos, framelinvel),
    the twelve actuators' torques [N·m]. Actuators and joints are in the order of `JOINTS`.
    Returns the base.
    """
    base = root.worldbody.add("body", name="base", pos=(0, 0, 0.32))
    base.add("freejoint", name="free")
    base.add(
        "inertial", pos=(0.0211, 0, -0.0054), mass=BODY_MASS, diaginertia=(0.0245, 0.0981, 0.107)
    )
    base.add("geom", name="trunk", type="box", size=BODY_BOX, rgba=WHITE, mass=0, **TOUCH)
    base.add("geom", type="box", size=(0.05, 0.045, 0.04), pos=(0.285, 0, 0.01), rgba=DARK, **LOOK)
    for leg in LEGS:
        _add_leg(root, base, leg)
    for kind, sensor in (("framepos", "place"), ("framelinvel", "velocity")):
        for leg in LEGS:
            root.sensor.add(kind, name=f"{leg}_{sensor}", objtype="site", objname=f"{leg}_foot")
    for name in JOINTS:
        root.sensor.add("actuatorfrc", name=f"{name}_torque", actuator=name)
    return base


def _add_leg(root: mjcf.RootElement, base: mjcf.Element, leg: str) -> None:
    front, left = (1 if leg[0] == "F" else -1), (1 if leg[1] == "L" else -1)
    hip = base.add("body", name=f"{leg}_hip", pos=(front * HIP_X, left * HIP_Y, 0))
    hip.add(
        "inertial", pos=(-front * 0.0054, left * 0.0019, 0), mass=0.678,
        diaginertia=(0.00048, 0.000884, 0.000596),
    )  # fmt: skip
    hip.add(
        "geom", type="cylinder", fromto=(0, left * 0.06, 0, 0, left * 0.1, 0), size=(0.046,),
        rgba=DARK, **LOOK,
    )  # fmt: skip
    thigh = hip.add("body", name=f"{leg}_thigh", pos=(0, left * HIP_LINK, 0))
    thigh.add(
        "inertial", pos=(-0.0037, -left * 0.0223, -0.0327), mass=1.152,
        diaginertia=(0.0059, 0.0059, 0.00088),
    )  # fmt: skip
    thigh.add(
        "geom", type="capsule", fromto=(0, 0, 0, 0, 0, -THIGH), size=(0.02,), rgba=GREY, **LOOK
    )
    calf = thigh.add("body", name=f"{leg}_calf", pos=(0, 0, -THIGH))
    calf.add(
        "inertial", pos=(0.0063, -left * 0.0006, -0.1414), mass=0.2414,
        diaginertia=(0.00146, 0.00149, 0.0000531),
    )  # fmt: skip
    # Thinner than the foot at its end, so that the foot meets the ground first.
    calf.add(
        "geom", name=f"{leg}_shin", type="capsule", fromto=(0, 0, 0, 0, 0, -0.17), size=(0.013,),
        rgba=DARK, mass=0, **TOUCH,
    )  # fmt: skip
    # The foot's friction rules in its contacts (priority), so that a model sets it in one place.
    calf.add(
        "geom", name=f"{leg}_foot", type="sphere", pos=(0, 0, -SHANK), size=(FOOT_RADIUS,),
        rgba=DARK, mass=0, priority=1, condim=3, friction=(0.8, 0.005, 0.0001), **TOUCH,
    )  # fmt: skip
    calf.add("site", name=f"{leg}_foot", pos=(0, 0, -SHANK), size=(0.005,))
    low, high = (dict(zip(JOINTS, values, strict=True)) for values in joint_ranges())
    axes = {"hip": (1, 0, 0), "thigh": (0, 1, 0), "calf": (0, 1, 0)}
    for body, part in ((hip, "hip"), (thigh, "thigh"), (calf, "calf")):
        name, kind = f"{leg}_{part}", TYPES[part]
        joint = body.add(
            "joint", name=name, axis=axes[part], limited=True, range=(low[name], high[name]),
            armature=kind.armature, damping=kind.damping, frictionloss=kind.friction,
        )  # fmt: skip
        root.actuator.add(
            "position", name=name, joint=joint, kp=KP, kv=KD, forcelimited=True,
            forcerange=(-kind.torque, kind.torque),
        )  # fmt: skip
