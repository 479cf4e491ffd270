"""The quadruped on its feet: its model with a payload, and how it moves its trunk over them."""

from __future__ import annotations

import mujoco
import numpy as np
from dm_control import mjcf

from calibration.joints.robot import TIMESTEP, add_sensors
from calibration.joints.twin import JointTwin
from calibration.legs.model import LegsModel
from calibration.parameters import Prior, Priors
from sim.robots import go2

PAYLOAD = ("payload", "payload_x", "payload_y", "payload_z")
"""Mass [kg] and centre of what the trunk carries [m], in the trunk's frame."""
BOX = 0.05
"""Half side of a cube that has the payload's inertia [m]."""
STIFF = 4.0
"""Gains of a robot that stands, over those in the air: with these, a load would make it sag and
lean."""
DURATION = 20.0
RAMP = 2.0
"""Of a standing motion, and of its beginning and end [s]."""
HEIGHT = 0.3
"""Of the trunk above the feet's centres, in the middle of the motion [m]."""
SWAY = np.array([0.03, 0.03, 0.03, 0.08, 0.12])
"""Amplitudes of the trunk: along x, y, z [m], about x and y [rad]."""
SLOW = (0.15, 0.35)
"""Frequencies of these motions [Hz]: accelerations stay below a hundredth of gravity."""


HEAVIEST = 9.0
"""Of a twin's payload [kg]."""


def payload_priors() -> list[Prior]:
    """What is believed of the payload before the robot stands. Widened by what twins 1000 to 1004
    of benchmarks/bench_calibration.py showed."""
    return [
        Prior("payload", "kg", 0.0, 5.0, widen=1.3),
        Prior("payload_x", "m", 0.0, 0.08, widen=1.5),
        Prior("payload_y", "m", 0.0, 0.04, widen=2.1),
        # Slow motions hardly tell the height.
        Prior("payload_z", "m", 0.1, 0.05, nuisance=True),
    ]


class StandingModel(LegsModel):
    """The quadruped on level ground, with a payload where its priors name one."""

    def build(self) -> mujoco.MjModel:
        root = mjcf.RootElement(model="standing")
        root.compiler.angle = "radian"
        root.worldbody.add(
            "geom", name="ground", type="plane", size=(5, 5, 0.1), contype=1, conaffinity=0
        )
        base = go2.add_quadruped(root)
        load = base.add("body", name="payload")
        load.add("inertial", pos=(0, 0, 0), mass=1e-9, diaginertia=(1e-12,) * 3)
        for sensor in root.find_all("sensor"):
            sensor.remove()
        add_sensors(root, go2.JOINTS)
        return mujoco.MjModel.from_xml_string(root.to_xml_string(), root.get_assets())

    def apply_body(self, model: mujoco.MjModel, values: np.ndarray) -> None:
        model.actuator_gainprm[:, 0] *= STIFF
        model.actuator_biasprm[:, 1:3] *= STIFF
        load, mass = model.body("payload").id, max(self.scalar(values, PAYLOAD[0]), 1e-9)
        model.body_mass[load] = mass
        model.body_inertia[load] = max(mass * (2 * BOX) ** 2 / 6, 1e-12)
        model.body_ipos[load] = [self.scalar(values, name) for name in PAYLOAD[1:]]


def standing_twin(hanging: JointTwin, seed: int) -> JointTwin:
    """The robot of a twin that hung by its trunk, on its feet and with a load, drawn with `seed`;
    its quantities end with those of `PAYLOAD`."""
    robot = StandingModel(Priors((*hanging.robot.priors.items, *payload_priors())))
    rng = np.random.default_rng([seed, 2])
    load = [rng.uniform(0, HEAVIEST), *(rng.uniform(-1, 1, 3) * [0.12, 0.05, 0.03] + [0, 0, 0.1])]
    return JointTwin(robot, seed, hanging.mismatch, np.concatenate([hanging.values, load]))


def standing_motion(seed: int) -> np.ndarray:
    """Target positions (T, 12) [rad], one every `TIMESTEP`, that move the trunk slowly to all sides
    over feet that stay; it begins and ends at rest."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(DURATION / TIMESTEP)) * TIMESTEP
    ramp = np.clip(np.minimum(time, DURATION - time) / RAMP, 0, 1)
    ramp = ramp**2 * (3 - 2 * ramp)
    waves = [
        np.sin(2 * np.pi * rng.uniform(*SLOW) * time + rng.uniform(0, 2 * np.pi)) for _ in SWAY
    ]
    x, y, z, roll, pitch = SWAY[:, None] * np.array(waves) * ramp
    targets = np.zeros((len(time), len(go2.JOINTS)))
    for leg, name in enumerate(go2.LEGS):
        front, side = (1 if name[0] == "F" else -1), (1 if name[1] == "L" else -1)
        hip = np.array([front * go2.HIP_X, side * go2.HIP_Y, 0.0])
        foot = np.stack([hip[0] - x, side * (go2.HIP_Y + go2.HIP_LINK) - y, -HEIGHT - z], axis=1)
        # Small turns of the trunk turn the feet the other way in its frame.
        foot += np.cross(foot, np.stack([roll, pitch, np.zeros_like(roll)], axis=1))
        targets[:, 3 * leg : 3 * leg + 3] = leg_angles(foot - hip, side)
    return targets


def leg_angles(foot: np.ndarray, side: int) -> np.ndarray:
    """Hip, thigh and calf (T, 3) [rad] that bring a foot's centre (T, 3) [m] there, from the hip;
    the calf folds back. side: 1 of a left leg, −1 of a right one."""
    x, y, z = foot.T
    across = side * go2.HIP_LINK
    down = np.sqrt(y**2 + z**2 - across**2)
    hip = np.arctan2(z, y) - np.arctan2(-down, across)
    hip = (hip + np.pi) % (2 * np.pi) - np.pi
    reach = x**2 + down**2
    length = go2.THIGH
    calf = -np.arccos(np.clip(reach / (2 * length**2) - 1, -1, 1))
    thigh = np.arctan2(-x, down) - calf / 2
    return np.stack([hip, thigh, calf], axis=1)
