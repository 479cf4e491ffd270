"""A first estimate by linear least squares on torques and on derivatives of the readings.

The drives' gains follow from torque = Kp (target(t − delay) − q) − Kd q̇, for each delay of a grid.
Armature, damping, friction and loads follow from the torque that the rigid links do not explain
(`mj_inverse`). It is rough where the friction is not Coulomb's, costs a fraction of a
second, and shows units, signs and loads that are wrong before a long fit starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.signal import savgol_filter

from calibration.joints.prediction import delayed
from calibration.joints.robot import TIMESTEP, JointRobot
from calibration.recording import JointRecording

WINDOW, ORDER = 31, 3
"""Of the Savitzky–Golay filter: samples and degree."""
EVERY = 4
"""Of the samples, that are used: the filter makes neighbours alike."""
SLOW = 0.02
"""Speed over which friction changes its sign [rad/s]."""
CLIP = 3.0
"""Standard deviations of the prior within which the estimate is kept."""
LEAST_MASS = 0.05
"""Of a load, from which its centre is estimated [kg]."""


@dataclass(frozen=True)
class FoundLoad:
    """A mass on the robot, with its standard error [kg]. place, quantity: see `joints.robot.Load`.
    announced: the robot's priors name the quantity."""

    place: str
    quantity: str
    mass: float
    error: float
    announced: bool


@dataclass(frozen=True)
class LinearFit:
    """values: by the names of the robot's priors. loads: on it. rigid (T', n): torque that the
    nominal robot's links, rotors and friction need for the recorded motion [N·m], and logged
    (T', n): the drives'."""

    values: dict[str, float]
    loads: list[FoundLoad]
    rigid: np.ndarray
    logged: np.ndarray


def linear_fit(robot: JointRobot, recording: JointRecording) -> LinearFit:
    """Of one recording."""
    motion = (
        _smooth(recording.q, 0), _smooth(recording.q, 1), _smooth(recording.q, 2)
    )  # fmt: skip
    torque = _smooth(recording.torque, 0)
    links = robot.link_torques(motion)
    columns: dict[str, np.ndarray] = {}
    for key, signal in (
        ("armature", motion[2]),
        ("damping", motion[1]),
        ("friction", np.tanh(motion[1] / SLOW)),
    ):
        for j, joint in enumerate(robot.joints):
            columns[f"{key}.{joint}"] = np.zeros_like(signal)
            columns[f"{key}.{joint}"][:, j] = signal[:, j]
    nominal = {name: robot.scalar(robot.priors.nominal, name) for name in columns}
    rigid = links + sum(nominal[name] * column for name, column in columns.items())
    loads = robot.loads(motion)
    for load in loads:
        columns |= {load.place: load.torque, **load.moments}
    values, errors = _regression(columns, torque - links, robot.layout.noise[len(robot.joints) :])
    found = []
    for load in loads:
        mass = values.pop(load.place)
        # The filter leaves a few independent samples to each window.
        spread = errors[load.place] * float(np.sqrt(WINDOW / EVERY))
        found.append(
            FoundLoad(load.place, load.quantity, mass, spread, load.quantity in robot.priors.names)
        )
        values |= {name: values[name] / max(mass, LEAST_MASS) for name in load.moments}
        values |= {load.quantity: mass} if load.quantity else {}
    return LinearFit(values | _gains(robot, recording), found, rigid, torque)


def start(robot: JointRobot, found: LinearFit) -> np.ndarray:
    """The estimate in standard units (p,), where to begin the nonlinear fit; 0, the prior's mean,
    for what it does not hold."""
    priors = robot.priors
    values = np.array([found.values.get(p.name, p.mean) for p in priors.items])
    return np.clip(priors.to_standard(values), -CLIP, CLIP)


def _smooth(series: np.ndarray, derivative: int) -> np.ndarray:
    """(T', n) of (T, n), by a Savitzky–Golay filter."""
    return savgol_filter(series, WINDOW, ORDER, deriv=derivative, delta=TIMESTEP, axis=0)[::EVERY]


def _regression(
    columns: Mapping[str, np.ndarray], target: np.ndarray, noise: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """Coefficients of columns (T, n) and their standard errors, by name. noise (n,): of target
    (T, n)."""
    rows = np.stack([(column / noise).ravel() for column in columns.values()], axis=1)
    wanted = (target / noise).ravel()
    solution, *_ = np.linalg.lstsq(rows, wanted, rcond=None)
    covariance = np.var(wanted - rows @ solution) * np.linalg.pinv(rows.T @ rows)
    errors = np.sqrt(np.diag(covariance))
    return (
        dict(zip(columns, solution.tolist(), strict=True)),
        dict(zip(columns, errors.tolist(), strict=True)),
    )


def _gains(robot: JointRobot, recording: JointRecording) -> dict[str, float]:
    """Position and velocity gains and the delay, by name."""
    n = len(robot.joints)
    noise = robot.layout.noise[n:]
    best, found = np.inf, {}
    for delay in np.arange(0.001, robot.layout.max_delay, 0.001):
        lead = delayed(recording.command, delay) - recording.q
        misfit, gains = 0.0, np.zeros((n, 2))
        for joint in range(n):
            rows = np.stack([lead[:, joint], -recording.dq[:, joint]], axis=1)
            gains[joint], *_ = np.linalg.lstsq(rows, recording.torque[:, joint], rcond=None)
            left = recording.torque[:, joint] - rows @ gains[joint]
            misfit += float((left**2).mean()) / noise[joint] ** 2
        if misfit < best:
            best = misfit
            found = {"delay": float(delay)}
            for joint, (position, velocity) in zip(robot.joints, gains.tolist(), strict=True):
                found |= {f"position_gain.{joint}": position, f"velocity_gain.{joint}": velocity}
    return found
