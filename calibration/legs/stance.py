"""The quadruped on its feet: its model with a payload, and how it moves its trunk over them."""

from __future__ import annotations

import mujoco
import numpy as np

from calibration.joints.robot import TIMESTEP
from calibration.joints.twin import JointTwin
from calibration.legs.model import LegsModel
from calibration.parameters import Prior, Priors
from calibration.recording import CalibrationError
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
CROUCH = 0.3 / (go2.THIGH + go2.SHANK)
"""Height of the trunk above the feet's centres in the middle of the motion, in lengths of a
straight leg."""
SWAY = np.array([*[0.03 / (go2.THIGH + go2.SHANK)] * 3, 0.08, 0.12])
"""Amplitudes of the trunk: along x, y, z [lengths of a leg], about x and y [rad]."""
SLOW = (0.15, 0.35)
"""Frequencies of these motions [Hz]: accelerations stay below a hundredth of gravity."""
NEWTON, REACHED, LARGEST_STEP = 50, 1e-9, 0.2
"""Of the angles that bring feet to a place: steps at most, what may be left [m], the largest
step [rad]."""

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
        return self.body.standing()

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
    legs = hanging.robot
    if not isinstance(legs, LegsModel):
        raise TypeError(f"expected a twin of legs, got one of the {legs.kind}")
    robot = StandingModel(Priors((*legs.priors.items, *payload_priors())), legs.body)
    rng = np.random.default_rng([seed, 2])
    load = [rng.uniform(0, HEAVIEST), *(rng.uniform(-1, 1, 3) * [0.12, 0.05, 0.03] + [0, 0, 0.1])]
    return JointTwin(robot, seed, hanging.mismatch, np.concatenate([hanging.values, load]))


def standing_motion(legs: LegsModel, seed: int) -> np.ndarray:
    """Target positions (T, 12) [rad], one every `TIMESTEP`, that move the trunk slowly to all sides
    over feet that stay; it begins and ends at rest.

    Raises CalibrationError for legs that cannot do that.
    """
    rng = np.random.default_rng(seed)
    time = np.arange(round(DURATION / TIMESTEP)) * TIMESTEP
    ramp = np.clip(np.minimum(time, DURATION - time) / RAMP, 0, 1)
    ramp = ramp**2 * (3 - 2 * ramp)
    waves = [
        np.sin(2 * np.pi * rng.uniform(*SLOW) * time + rng.uniform(0, 2 * np.pi)) for _ in SWAY
    ]
    turning = SWAY[3:, None] * np.array(waves[3:]) * ramp
    straight = feet_places(legs, np.zeros(len(legs.joints)))
    length = -float(straight[:, 2].mean())
    moving = length * SWAY[:3, None] * np.array(waves[:3]) * ramp
    middle = straight * [1.0, 1.0, CROUCH]
    feet = middle - moving.T[:, None]
    # Small turns of the trunk turn the feet the other way in its frame.
    turns = np.stack([*turning, np.zeros_like(time)], axis=1)
    feet += np.cross(feet, turns[:, None])
    return joint_angles(legs, feet)


def feet_places(legs: LegsModel, q: np.ndarray) -> np.ndarray:
    """(4, 3) in the trunk's frame [m], at joint angles q (12,) [rad]."""
    data = mujoco.MjData(legs.model)
    data.qpos[:] = q
    mujoco.mj_kinematics(legs.model, data)
    return data.site_xpos[_feet(legs)] - legs.model.body("base").pos


def joint_angles(legs: LegsModel, feet: np.ndarray) -> np.ndarray:
    """Angles (T, 12) [rad] that bring the feet to places (T, 4, 3) in the trunk's frame [m], by
    Newton's method from the stance on. Raises CalibrationError for places out of reach."""
    model = legs.model
    data, sites = mujoco.MjData(model), _feet(legs)
    made = np.zeros((len(feet), len(legs.joints)))
    jacobian, wanted = np.zeros((3, model.nv)), feet + model.body("base").pos
    data.qpos[:] = legs.layout.ready
    for k, places in enumerate(wanted):
        for _ in range(NEWTON):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            off = places - data.site_xpos[sites]
            if np.abs(off).max() < REACHED:
                break
            for leg, site in enumerate(sites):
                mujoco.mj_jacSite(model, data, jacobian, None, site)
                own = slice(3 * leg, 3 * leg + 3)
                step = np.linalg.lstsq(jacobian[:, own], off[leg], rcond=1e-3)[0]
                data.qpos[own] += np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        else:
            leg = go2.LEGS[int(np.abs(off).max(axis=1).argmax())]
            raise CalibrationError(
                f"the standing motion asks the foot of {leg} for a place that its leg does not "
                f"reach, {np.abs(off).max():.3f} m off; expected legs of about our proportions"
            )
        made[k] = data.qpos
    low, high = legs.body.quadruped.low, legs.body.quadruped.high
    room = np.minimum(made - low, high - made).min(axis=0)
    if room.min() < 0:
        joint = int(room.argmin())
        raise CalibrationError(
            f"the standing motion takes {legs.joints[joint]} {-room.min():.3f} rad beyond its "
            f"range, {low[joint]:.2f} to {high[joint]:.2f} rad; expected legs of about our "
            "proportions"
        )
    return made


def _feet(legs: LegsModel) -> list[int]:
    return [legs.model.site(f"{leg}_foot").id for leg in go2.LEGS]
