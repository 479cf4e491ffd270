"""The UR5e-class arm with position-controlled joints, and the quantities of it that are unknown.

Each joint's drive receives a target position and produces the torque
Kp (target(t − delay) − q) − Kd q̇, where q is the encoder's reading. The encoder reads the joint's
position plus a bias. A payload is a body of unknown mass and centre in the gripper.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import mujoco
import numpy as np
from dm_control import mjcf

from calibration.parameters import Prior, Priors
from sim.robots.ur5e import ARMATURE, JOINTS, LINKS, TORQUE_LIMITS, add_arm

TIMESTEP = 0.002
"""Of the model [s], equal to training's: the estimates are those that fit this step. It is also
the period of the recordings."""
GRAVITY = 9.81
POSITION_GAIN = (2000.0, 2000.0, 2000.0, 250.0, 250.0, 250.0)
VELOCITY_GAIN = (120.0, 120.0, 80.0, 5.0, 5.0, 5.0)
DELAY = 0.006
"""Nominal delay between a command and its effect [s]."""
MAX_DELAY = 0.03
"""Beyond this a delay is not looked for [s]."""
PAYLOAD_RADIUS = 0.03
"""The payload's inertia is a solid ball's of this radius [m]."""
AXES = ("x", "y", "z")
PAYLOAD = ("payload_mass", *(f"payload_centre_{axis}" for axis in AXES))


def arm_priors(payload: bool) -> Priors:
    """What is believed of an arm before it has moved. payload: of unknown mass and centre; without
    it the gripper is empty."""
    items: list[Prior] = []
    blocks: tuple[tuple[str, str, Sequence[float], float, Literal["linear", "log"]], ...] = (
        ("armature", "kg·m²", ARMATURE, 0.4, "log"),
        ("damping", "N·m·s/rad", [link.damping for link in LINKS], 0.6, "log"),
        ("friction", "N·m", [link.friction for link in LINKS], 0.6, "log"),
        ("position_gain", "N·m/rad", POSITION_GAIN, 0.2, "log"),
        ("velocity_gain", "N·m·s/rad", VELOCITY_GAIN, 0.2, "log"),
        ("encoder_bias", "rad", [0.0] * 6, 0.01, "linear"),
    )
    for key, unit, means, std, scale in blocks:
        items += [
            Prior(f"{key}.{joint}", unit, mean, std, scale)
            for joint, mean in zip(JOINTS, means, strict=True)
        ]
    items.append(Prior("delay", "s", DELAY, 0.4, "log"))
    if payload:
        items.append(Prior("payload_mass", "kg", 0.5, 0.8, "log"))
        for axis, mean in zip(AXES, (0.0, 0.0, 0.05), strict=True):
            items.append(Prior(f"payload_centre_{axis}", "m", mean, 0.03))
    for joint in JOINTS:
        items.append(Prior(f"link_mass.{joint}", "1", 1.0, 0.03, "log", nuisance=True))
    return Priors(tuple(items))


@dataclass(frozen=True)
class ArmModel:
    """The compiled arm and where its unknown quantities go.

    priors: of the quantities in a vector of values (n,), in order.
    """

    priors: Priors

    @cached_property
    def model(self) -> mujoco.MjModel:
        root = mjcf.RootElement(model="arm")
        root.compiler.angle = "radian"
        root.option.timestep = TIMESTEP
        # A drive holds its torque from one sample to the next. An implicit integrator would apply
        # another one than it reports: Kd × TIMESTEP would add to the armature, threefold it.
        root.option.integrator = "Euler"
        root.option.gravity = (0, 0, -GRAVITY)
        tool = add_arm(root, true_masses=False)
        payload = tool.add("body", name="payload")
        payload.add("inertial", pos=(0, 0, 0), mass=1e-9, diaginertia=(1e-12,) * 3)
        for motor in root.find_all("actuator"):
            motor.remove()
        for joint, limit in zip(JOINTS, TORQUE_LIMITS.tolist(), strict=True):
            root.actuator.add(
                "position", name=joint, joint=joint, forcelimited=True, forcerange=(-limit, limit)
            )
        for kind in ("jointpos", "jointvel", "jointactuatorfrc"):
            for joint in JOINTS:
                root.sensor.add(kind, name=f"{kind}_{joint}", joint=joint)
        return mujoco.MjModel.from_xml_string(root.to_xml_string(), root.get_assets())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the compiled model: what the estimates are relative to."""
        buffer = np.zeros(mujoco.mj_sizeModel(self.model), np.uint8)
        mujoco.mj_saveModel(self.model, None, buffer)
        return hashlib.sha256(buffer.tobytes()).hexdigest()

    def copy(self) -> mujoco.MjModel:
        """A model of the same sizes, to be filled by `apply`."""
        return copy.copy(self.model)

    def tool_rotations(self, q: np.ndarray) -> np.ndarray:
        """From the tool's frame, which is the wrist sensor's, to the world's (P, 3, 3), at joint
        positions (P, 6) [rad]."""
        data = mujoco.MjData(self.model)
        tool = self.model.body("tool").id
        turned = np.zeros((len(q), 3, 3))
        for k, position in enumerate(q):
            data.qpos[:] = position
            mujoco.mj_kinematics(self.model, data)
            turned[k] = data.xmat[tool].reshape(3, 3)
        return turned

    def values(self, values: np.ndarray, key: str) -> np.ndarray:
        """One quantity of all joints (6,), such as "friction"."""
        return values[self.priors.indices([f"{key}.{joint}" for joint in JOINTS])]

    def scalar(self, values: np.ndarray, name: str, default: float = 0.0) -> float:
        """One quantity that no joint has, or `default` where it is not among the unknown."""
        if name not in self.priors.names:
            return default
        return float(values[self.priors.names.index(name)])

    def apply(self, model: mujoco.MjModel, data: mujoco.MjData, values: np.ndarray) -> None:
        """Write values (n,) into a copy. The delay and the encoders' bias are not in a model: they
        shift the commands and the readings, see `prediction`. data: a scratch of the same sizes."""
        model.dof_armature[:] = self.values(values, "armature")
        model.dof_damping[:] = self.values(values, "damping")
        model.dof_frictionloss[:] = self.values(values, "friction")
        stiffness = self.values(values, "position_gain")
        model.actuator_gainprm[:, 0] = stiffness
        model.actuator_biasprm[:, 1] = -stiffness
        model.actuator_biasprm[:, 2] = -self.values(values, "velocity_gain")
        links = [model.body(joint).id for joint in JOINTS]
        model.body_mass[links] = self.model.body_mass[links] * self.values(values, "link_mass")
        mass = self.scalar(values, "payload_mass", 1e-9)
        payload = model.body("payload").id
        model.body_mass[payload] = mass
        model.body_inertia[payload] = max(0.4 * mass * PAYLOAD_RADIUS**2, 1e-12)
        model.body_ipos[payload] = [self.scalar(values, name) for name in PAYLOAD[1:]]
        mujoco.mj_setConst(model, data)
