"""A first estimate by linear least squares on torques and on derivatives of the readings.

The drives' gains follow from torque = Kp (target(t − delay) − q) − Kd q̇, for each delay of a grid.
Armature, damping, friction and the payload follow from the torque that the rigid links do not
explain (`mj_inverse`). It is rough where the friction is not Coulomb's, costs a fraction of a
second, and shows units, signs and loads that are wrong before a long fit starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.signal import savgol_filter

from calibration.arm.identification import NOISE
from calibration.arm.model import (
    AXES,
    MAX_DELAY,
    PAYLOAD,
    TIMESTEP,
    ArmModel,
    arm_priors,
)
from calibration.arm.prediction import delayed
from calibration.recording import JointRecording
from sim.robots.ur5e import JOINTS

WINDOW, ORDER = 31, 3
"""Of the Savitzky–Golay filter: samples and degree."""
EVERY = 4
"""Of the samples, that are used: the filter makes neighbours alike."""
SLOW = 0.02
"""Speed over which friction changes its sign [rad/s]."""
CLIP = 3.0
"""Standard deviations of the prior within which the estimate is kept."""


@dataclass(frozen=True)
class LinearFit:
    """values: by the names of `arm.model.arm_priors`. payload_error: standard error of the
    payload's mass [kg]. rigid (T', 6): torque that the nominal arm's links, rotors and friction
    need for the recorded motion [N·m], and logged (T', 6): the drives'."""

    values: dict[str, float]
    payload_error: float
    rigid: np.ndarray
    logged: np.ndarray


def linear_fit(recording: JointRecording) -> LinearFit:
    """Of one recording of an arm that may carry a payload."""
    q, dq, ddq = (
        savgol_filter(recording.q, WINDOW, ORDER, deriv=k, delta=TIMESTEP, axis=0)[::EVERY]
        for k in range(3)
    )
    torque = savgol_filter(recording.torque, WINDOW, ORDER, axis=0)[::EVERY]
    arm = ArmModel(arm_priors(payload=True))
    links = _inverse(arm, q, dq, ddq, {})
    sign = np.tanh(dq / SLOW)
    own = [ddq, dq, sign]
    with_mass = _inverse(arm, q, dq, ddq, {"payload_mass": 1.0})
    columns = [np.zeros((len(q), 6)) for _ in range(18)]
    for k, signal in enumerate(own):
        for joint in range(6):
            columns[6 * k + joint][:, joint] = signal[:, joint]
    columns.append(with_mass - links)
    for axis in AXES:
        moved = _inverse(arm, q, dq, ddq, {"payload_mass": 1.0, f"payload_centre_{axis}": 0.1})
        columns.append((moved - with_mass) / 0.1)
    weight = 1 / NOISE[6:]
    rows = np.stack([(column * weight).ravel() for column in columns], axis=1)
    target = ((torque - links) * weight).ravel()
    solution, *_ = np.linalg.lstsq(rows, target, rcond=None)
    error = np.var(target - rows @ solution) * np.linalg.pinv(rows.T @ rows)
    keys = [f"{key}.{joint}" for key in ("armature", "damping", "friction") for joint in JOINTS]
    values = dict(zip(keys, solution[:18].tolist(), strict=True))
    mass = float(solution[18])
    values["payload_mass"] = mass
    for axis, moment in zip(AXES, solution[19:].tolist(), strict=True):
        values[f"payload_centre_{axis}"] = moment / max(mass, 0.05)
    values |= _gains(recording)
    nominal = {name: arm.scalar(arm.priors.nominal, name) for name in keys}
    coefficients = np.array(list(nominal.values())).reshape(3, 6)
    rigid = links + sum(c * signal for c, signal in zip(coefficients, own, strict=True))
    # The filter leaves a few independent samples to each window.
    return LinearFit(values, float(np.sqrt(error[18, 18] * WINDOW / EVERY)), rigid, torque)


def start(arm: ArmModel, found: LinearFit) -> np.ndarray:
    """The estimate in standard units (n,), where to begin the nonlinear fit; 0, the prior's mean,
    for what it does not hold."""
    priors = arm.priors
    values = np.array([found.values.get(p.name, p.mean) for p in priors.items])
    return np.clip(priors.to_standard(values), -CLIP, CLIP)


def _gains(recording: JointRecording) -> dict[str, float]:
    """Position and velocity gains and the delay, by name."""
    best, found = np.inf, {}
    for delay in np.arange(0.001, MAX_DELAY, 0.001):
        lead = delayed(recording.command, delay) - recording.q
        misfit, gains = 0.0, np.zeros((6, 2))
        for joint in range(6):
            rows = np.stack([lead[:, joint], -recording.dq[:, joint]], axis=1)
            gains[joint], *_ = np.linalg.lstsq(rows, recording.torque[:, joint], rcond=None)
            left = recording.torque[:, joint] - rows @ gains[joint]
            misfit += float((left**2).mean()) / NOISE[6 + joint] ** 2
        if misfit < best:
            best = misfit
            found = {"delay": float(delay)}
            for joint, (position, velocity) in zip(JOINTS, gains.tolist(), strict=True):
                found |= {f"position_gain.{joint}": position, f"velocity_gain.{joint}": velocity}
    return found


def _inverse(
    arm: ArmModel, q: np.ndarray, dq: np.ndarray, ddq: np.ndarray, given: dict[str, float]
) -> np.ndarray:
    """Torques (T, 6) that the links alone need, with a payload as `given`."""
    values = np.zeros(len(arm.priors))
    for joint in JOINTS:
        values[arm.priors.names.index(f"link_mass.{joint}")] = 1.0
    values[arm.priors.names.index(PAYLOAD[0])] = 1e-9
    for name, value in given.items():
        values[arm.priors.names.index(name)] = value
    model = arm.copy()
    data = mujoco.MjData(model)
    arm.apply(model, data, values)
    torques = np.zeros_like(q)
    for k in range(len(q)):
        data.qpos[:], data.qvel[:], data.qacc[:] = q[k], dq[k], ddq[k]
        mujoco.mj_inverse(model, data)
        torques[k] = data.qfrc_inverse
    return torques
