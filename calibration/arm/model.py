"""The UR5e-class arm with position-controlled joints. A payload is a body of unknown mass and
centre in the gripper."""

from __future__ import annotations

from typing import ClassVar

import mujoco
import numpy as np
from dm_control import mjcf

from calibration.joints.robot import (
    Excitation,
    JointRobot,
    Layout,
    Limits,
    Load,
    Motion,
    add_sensors,
    joint_priors,
    link_masses,
    stribeck_priors,
)
from calibration.parameters import Prior, Priors
from sim.robots.ur5e import ARMATURE, HOME, JOINTS, LINKS, TORQUE_LIMITS, add_arm

POSITION_GAIN = (2000.0, 2000.0, 2000.0, 250.0, 250.0, 250.0)
VELOCITY_GAIN = (120.0, 120.0, 80.0, 5.0, 5.0, 5.0)
DELAY = Prior("delay", "s", 0.006, 0.4, "log")
"""Between a command and its effect."""
PAYLOAD_RADIUS = 0.03
"""The payload's inertia is a solid ball's of this radius [m]."""
AXES = ("x", "y", "z")
CENTRE = tuple(f"payload_centre_{axis}" for axis in AXES)
HEIGHT = 0.1
"""Of the tool and every link above the arm's foot, at least [m]."""
CLEARANCE = 0.2
"""Of the tool from the axis of the first joint, at least [m]."""

LAYOUT = Layout(
    joints=JOINTS,
    torque_limits=TORQUE_LIMITS,
    noise=np.repeat([1e-4, 0.5, 0.1], [6, 3, 3]),
    # `HOME`, lifted off the table.
    ready=HOME + np.array([0.0, -0.35, -0.1, 0.45, 0.0, 0.0]),
    chains=(tuple(range(6)),),
    limits=Limits(speed=2.0, acceleration=12.0),
    excitation=Excitation(1.5, (0.3, 3.0), 0.35, np.array([0.9, 0.35, 0.5, 0.8, 0.7, 1.2])),
    max_delay=0.03,
    worst=20.0,
)


WIDEN = {
    "armature": 1.2,
    "damping": 1.2,
    "friction": 1.2,
    "encoder_bias": 2.4,
    "payload_centre": 2.5,
}
"""See `Prior`; chosen on arms 1004 to 1011 of benchmarks/bench_calibration.py, which reports on
others."""


def arm_priors(payload: bool) -> Priors:
    """What is believed of an arm before it has moved. payload: of unknown mass and centre; without
    it the gripper is empty."""
    nominal = {
        "armature": ARMATURE,
        "damping": [link.damping for link in LINKS],
        "friction": [link.friction for link in LINKS],
        "position_gain": POSITION_GAIN,
        "velocity_gain": VELOCITY_GAIN,
    }
    items = joint_priors(JOINTS, nominal, gain_error=0.2, bias=0.01, delay=DELAY, widen=WIDEN)
    if payload:
        items.append(Prior("payload_mass", "kg", 0.5, 0.8, "log"))
        for name, mean in zip(CENTRE, (0.0, 0.0, 0.05), strict=True):
            # Gravity tells its height less, and its errors are not larger than they seem.
            wide = 1.0 if name.endswith("_z") else WIDEN["payload_centre"]
            items.append(Prior(name, "m", mean, 0.03, widen=wide))
    return Priors((*items, *link_masses(JOINTS), *stribeck_priors(JOINTS)))


class ArmModel(JointRobot):
    """The arm."""

    kind: ClassVar[str] = "arm"

    @property
    def layout(self) -> Layout:
        return LAYOUT

    def build(self) -> mujoco.MjModel:
        root = mjcf.RootElement(model="arm")
        root.compiler.angle = "radian"
        tool = add_arm(root, true_masses=False)
        payload = tool.add("body", name="payload")
        payload.add("inertial", pos=(0, 0, 0), mass=1e-9, diaginertia=(1e-12,) * 3)
        for motor in root.find_all("actuator"):
            motor.remove()
        for joint, limit in zip(JOINTS, TORQUE_LIMITS.tolist(), strict=True):
            root.actuator.add(
                "position", name=joint, joint=joint, forcelimited=True, forcerange=(-limit, limit)
            )
        add_sensors(root, JOINTS)
        return mujoco.MjModel.from_xml_string(root.to_xml_string(), root.get_assets())

    def apply_body(self, model: mujoco.MjModel, values: np.ndarray) -> None:
        mass = self.scalar(values, "payload_mass", 1e-9)
        payload = model.body("payload").id
        model.body_mass[payload] = mass
        model.body_inertia[payload] = max(0.4 * mass * PAYLOAD_RADIUS**2, 1e-12)
        model.body_ipos[payload] = [self.scalar(values, name) for name in CENTRE]

    def unsafe(self, q: np.ndarray) -> str:
        data = mujoco.MjData(self.model)
        foot = self.model.body("foot").pos
        bodies = [self.model.body(name).id for name in (*JOINTS[2:], "tool")]
        height = distance = np.inf
        for position in q:
            data.qpos[:] = position
            mujoco.mj_kinematics(self.model, data)
            places = data.xpos[bodies] - foot
            height = min(height, float(places[:, 2].min()))
            distance = min(distance, float(np.hypot(*places[-1, :2])))
        if height < HEIGHT:
            return f"comes within {height:.3f} m of the foot's height"
        if distance < CLEARANCE:
            return f"brings the tool within {distance:.3f} m of the first joint's axis"
        return ""

    def loads(self, motion: Motion) -> list[Load]:
        loaded = ArmModel(arm_priors(payload=True))
        empty = loaded.link_torques(motion)
        weight = loaded.link_torques(motion, payload_mass=1.0) - empty
        moments = {
            name: (loaded.link_torques(motion, **{"payload_mass": 1.0, name: 0.1}) - empty - weight)
            / 0.1
            for name in CENTRE
        }
        return [Load("gripper", weight, moments, quantity="payload_mass")]

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
