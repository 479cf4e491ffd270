"""What a standing quadruped carries, from the torques of its legs.

Each leg's torques tell the force on its foot, f = J⁻ᵀ (h − τ), with h what the leg itself needs and
τ what its drives leave after friction. The feet's forces and moments about the trunk's origin, the
robot's weight and the payload's add up to nothing, six equations a sample. Slow motions in both
directions tell friction from load. The vertical is that of the plane through the feet.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from mujoco import minimize
from scipy.signal import savgol_filter

from calibration.input_checks import Finding, check_timing
from calibration.joints.robot import GRAVITY, TIMESTEP, Motion
from calibration.legs.model import LegsModel
from calibration.legs.stance import PAYLOAD, payload_priors
from calibration.parameters import WIDTH, Prior, Priors
from calibration.posterior import Posterior, effective_noise, posterior
from calibration.recording import CalibrationError, JointRecording
from sim.robots import go2

WINDOW, EVERY = 101, 20
"""Samples of the smoothing filter, and every how many are used."""
SIGN = 0.02
"""Speed over which friction changes its sign [rad/s]."""
NOISE = np.repeat([4.0, 0.8], 3)
"""What a sample's equations may be missed by at first: forces [N], moments [N·m]."""
TRUNK_ERROR = 0.02
"""Of the trunk's mass; standard deviation of its logarithm."""
FLOOR = 0.01
"""Slope of a level floor; standard deviation [rad]."""
UNEVEN = 0.02
"""How far feet may be off a plane [m]."""
WEIGHT = (0.6, 2.2)
"""Between the weight that the torques bear and the bare robot's."""
STEP = 1e-4
"""Of finite differences [rad]."""


def standing_priors(joints: Posterior) -> Priors:
    """What is believed before the robot stands. joints: as they were found in the air."""
    items = [
        *payload_priors(),
        Prior("trunk_mass", "1", 1.0, TRUNK_ERROR, nuisance=True),
        Prior("floor_x", "rad", 0.0, FLOOR, nuisance=True),
        Prior("floor_y", "rad", 0.0, FLOOR, nuisance=True),
    ]
    values = joints.priors.to_physical(joints.mean)
    for i, p in enumerate(joints.priors.items):
        if p.name.startswith(("friction.", "encoder_bias.")):
            std = p.std * float(np.sqrt(joints.reported[i, i]))
            items.append(Prior(p.name, p.unit, float(values[i]), std, p.scale, nuisance=True))
    return Priors(tuple(items))


@dataclass(frozen=True)
class Balance:
    """The equations of T samples of a recording.

    missing (T, 6): force [N] and moment [N·m] on a robot without payload and friction. columns:
    what a unit of each unknown beyond `offset` adds to them (T, 6), by name; of the payload's
    centre, a unit of mass × centre. feet (T, 4, 3): in the trunk's frame [m].
    """

    missing: np.ndarray
    columns: dict[str, np.ndarray]
    offset: dict[str, float]
    feet: np.ndarray

    def left(self, priors: Priors, values: np.ndarray) -> np.ndarray:
        """What is missing (T, 6) with values (p,) of `priors`."""
        amounts = dict(zip(priors.names, values.tolist(), strict=True))
        for name in PAYLOAD[1:]:
            amounts[name] *= amounts[PAYLOAD[0]]
        parts = (
            self.columns[name] * (amount - self.offset.get(name, 0.0))
            for name, amount in amounts.items()
        )
        return self.missing + sum(parts)


def calibrate_standing(legs: LegsModel, joints: Posterior, recording: JointRecording) -> Posterior:
    """The payload of a robot whose joints were calibrated in the air. Raises CalibrationError for a
    recording that is no good."""
    priors = standing_priors(joints)
    found = check_timing(legs, recording)
    sums = balance(legs, priors, recording) if not found else None
    found += check_standing(legs, recording, sums) if sums else []
    if found or sums is None:
        raise CalibrationError("; ".join(f.text for f in found))

    def residual(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        columns = [(sums.left(priors, priors.to_physical(p)) / scale).ravel() for p in x.T]
        return np.concatenate([np.stack(columns, axis=1), x])

    edge = np.full(len(priors), WIDTH)
    x, scale = np.zeros(len(priors)), NOISE
    for _ in range(2):
        x, _ = minimize.least_squares(
            x, lambda at, scale=scale: residual(at, scale), bounds=(-edge, edge),
            verbose=minimize.Verbosity.SILENT,
        )  # fmt: skip
        scale = effective_noise([sums.left(priors, priors.to_physical(x))], [], 0.01 * NOISE)
    points = np.concatenate([x[:, None], x[:, None] + STEP * np.eye(len(x))], axis=1)
    rows = residual(points, scale)[: sums.missing.size]
    return posterior(priors, x, (rows[:, 1:] - rows[:, :1]) / STEP, scale, scale)


def check_standing(legs: LegsModel, recording: JointRecording, sums: Balance) -> list[Finding]:
    """What is wrong with a recording of a robot that should stand; empty if nothing."""
    found = []
    centred = sums.feet - sums.feet.mean(axis=1, keepdims=True)
    off = float(np.linalg.svd(centred, compute_uv=False)[:, 2].max())
    if off > UNEVEN:
        text = f"the feet are up to {off:.3f} m off a plane; expected all on level ground"
        found.append(Finding("feet", f"{recording.name}: {text}"))
    # Forces on the feet less weight, over weight, along the vertical.
    weight = sums.columns[PAYLOAD[0]][:, :3] * legs.model.body_mass.sum()
    share = 1 - float((sums.missing[:, :3] * weight).sum() / (weight**2).sum())
    if not WEIGHT[0] < share < WEIGHT[1]:
        text = f"the legs' torques bear {share:.3g} times the bare robot's weight; expected "
        text += f"{WEIGHT[0]:g} to {WEIGHT[1]:g}: are they in N·m, and does the robot stand?"
        found.append(Finding("torque-unit", f"{recording.name}: {text}"))
    return found


def balance(legs: LegsModel, priors: Priors, recording: JointRecording) -> Balance:
    """The equations of a recording; priors: `standing_priors`."""
    nominal = dict(zip(priors.names, priors.nominal.tolist(), strict=True))
    bias = np.array([nominal[f"encoder_bias.{joint}"] for joint in legs.joints])
    q, dq, ddq = (
        savgol_filter(recording.q, WINDOW, 3, deriv=k, delta=TIMESTEP, axis=0)[::EVERY]
        for k in range(3)
    )
    torque = savgol_filter(recording.torque, WINDOW, 3, axis=0)[::EVERY]
    damping = legs.values(legs.priors.nominal, "damping")
    motor = torque - damping * dq

    def at(turned: np.ndarray, floor: tuple[float, float] = (0.0, 0.0)) -> _Statics:
        return _statics(legs, (turned, dq, ddq), floor)

    plain = at(q - bias)
    missing = plain.missing(motor)
    gravity, zero = -GRAVITY * plain.up, np.zeros_like(plain.up)
    columns = {"payload": np.concatenate([gravity, zero], axis=1)}
    for name, axis in zip(PAYLOAD[1:], np.eye(3), strict=True):
        columns[name] = np.concatenate([zero, np.cross(axis, gravity)], axis=1)
    base = legs.model.body("base").id
    pull = legs.model.body_mass[base] * gravity
    turn = np.cross(legs.model.body_ipos[base], pull).astype(float)
    columns["trunk_mass"] = np.concatenate([pull, turn], axis=1)
    for k, name in enumerate(("floor_x", "floor_y")):
        floor = (STEP, 0.0) if k == 0 else (0.0, STEP)
        columns[name] = (at(q - bias, floor).missing(motor) - missing) / STEP
    for j, joint in enumerate(legs.joints):
        shift = STEP * np.eye(len(legs.joints))[j]
        columns[f"encoder_bias.{joint}"] = (at(q - bias - shift).missing(motor) - missing) / STEP
        columns[f"friction.{joint}"] = plain.spread[:, j] * np.tanh(dq[:, j : j + 1] / SIGN)
    offset = {n: v for n, v in nominal.items() if n.startswith(("encoder_bias", "trunk_mass"))}
    return Balance(missing, columns, offset, plain.feet)


@dataclass(frozen=True)
class _Statics:
    """Of T samples. weight (T, 6): force and moment of the robot's own weight. needed (T, 12):
    torques of the legs in the air. spread (T, 12, 6): the foot's force and moment for a torque of 1
    N·m less at each joint. feet (T, 4, 3), up (T, 3): in the trunk's frame."""

    weight: np.ndarray
    needed: np.ndarray
    spread: np.ndarray
    feet: np.ndarray
    up: np.ndarray

    def missing(self, motor: np.ndarray) -> np.ndarray:
        """Force and moment (T, 6) that are left with torques (T, 12) of the drives."""
        return self.weight + np.einsum("tjw,tj->tw", self.spread, self.needed - motor)


def _statics(legs: LegsModel, motion: Motion, floor: tuple[float, float]) -> _Statics:
    """floor: its slope about the trunk's x and y axis [rad]."""
    model, count = legs.unloaded(), len(motion[0])
    data = mujoco.MjData(model)
    origin, mass = model.body("base").pos, model.body_mass[:, None]
    sites = [model.site(f"{leg}_foot").id for leg in go2.LEGS]
    shanks, radius = model.site_bodyid[sites], legs.body.quadruped.foot_radius
    weight, needed = np.zeros((count, 6)), np.zeros((count, 12))
    spread, feet, up = np.zeros((count, 12, 6)), np.zeros((count, 4, 3)), np.zeros((count, 3))
    jacobian = np.zeros((3, 12))
    for k in range(count):
        data.qpos[:], data.qvel[:], data.qacc[:] = (part[k] for part in motion)
        mujoco.mj_kinematics(model, data)
        feet[k] = data.site_xpos[sites] - origin
        normal = np.linalg.svd(feet[k] - feet[k].mean(axis=0))[2][2]
        normal = normal * np.sign(normal[2])
        up[k] = normal + np.cross([*floor, 0.0], normal)
        model.opt.gravity[:] = -GRAVITY * up[k]
        mujoco.mj_inverse(model, data)
        needed[k] = data.qfrc_inverse
        pull = -GRAVITY * mass * up[k]
        weight[k] = [*pull.sum(axis=0), *np.cross(data.xipos - origin, pull).sum(axis=0)]
        for leg, (body, foot) in enumerate(zip(shanks, feet[k], strict=True)):
            touch = foot - radius * up[k]
            mujoco.mj_jac(model, data, jacobian, None, touch + origin, body)
            own = slice(3 * leg, 3 * leg + 3)
            force = np.linalg.inv(jacobian[:, own])  # row j: of a torque at joint j
            spread[k, own] = np.concatenate([force, np.cross(touch, force)], axis=1)
    return _Statics(weight, needed, spread, feet, up)
