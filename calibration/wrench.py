"""The wrist's force-torque sensor: its bias and gain, and the tool that hangs on it.

Held still in pose R, the sensor measures, in its own frame,
force = gain · m g(R) + bias and torque = gain · (c × m g(R)) + bias, with g(R) = Rᵀ (0, 0, −9.81).
Mass m, centre c, six gains and six biases are found from a dozen poses that tilt the tool far and
in all directions. Gain and mass cannot be told apart without a known weight: without one the gain
keeps its prior, and the mass is as sure as the gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mujoco import minimize

from calibration.arm.model import AXES
from calibration.input_checks import Finding
from calibration.joints.robot import GRAVITY
from calibration.parameters import WIDTH, Prior, Priors
from calibration.posterior import Posterior

POSES = 12
"""Static poses that are needed at least."""
SPREAD = 0.08
"""Smallest share of the variance of gravity's direction along any axis of the sensor; directions
all around have 1/3. Below it, the poses lie too close to one another or to a plane."""
NOISE = np.array([0.1] * 3 + [0.004] * 3)
"""Standard deviation of a pose's mean wrench [N, N·m]: the noise that averaging leaves, drift and
cables that pull."""


def wrench_priors(known_mass: float | None = None) -> Priors:
    """What is believed of the sensor and the tool. known_mass: of the tool, weighed [kg]."""
    mass = Prior("tool_mass", "kg", known_mass or 1.0, 0.002 if known_mass else 0.7, "log")
    items = [mass]
    for axis, mean in zip(AXES, (0.0, 0.0, 0.05), strict=True):
        items.append(Prior(f"tool_centre_{axis}", "m", mean, 0.05))
    for kind, unit, bias in (("force", "N", 3.0), ("torque", "N·m", 0.1)):
        items += [Prior(f"{kind}_bias_{axis}", unit, 0.0, bias) for axis in AXES]
        items += [Prior(f"{kind}_gain_{axis}", "1", 1.0, 0.02, "log") for axis in AXES]
    return Priors(tuple(items))


@dataclass(frozen=True)
class Poses:
    """Static poses: rotation (P, 3, 3) from the sensor's frame to the world's, and the mean wrench
    (P, 6) [N, N·m] measured there, in the sensor's frame."""

    name: str
    rotation: np.ndarray
    wrench: np.ndarray


@dataclass(frozen=True)
class WrenchModel:
    """values: of `wrench_priors`, in its order."""

    priors: Priors
    values: np.ndarray

    def static(self, rotation: np.ndarray) -> np.ndarray:
        """What the sensor measures (P, 6) in poses (P, 3, 3) in which nothing touches the tool."""
        return _static(self.priors, self.values, rotation)

    def contact(self, rotation: np.ndarray, wrench: np.ndarray) -> np.ndarray:
        """Gravity compensation: the wrench (P, 6) [N, N·m] that touches the tool, about the
        sensor, of what it measures (P, 6) in poses (P, 3, 3)."""
        return (wrench - self.static(rotation)) / _by_kind(self.priors, self.values, "gain")


def calibrate_wrench(poses: Poses, known_mass: float | None = None) -> Posterior:
    """The sensor and the tool from static poses."""
    priors = wrench_priors(known_mass)

    def residual(x: np.ndarray) -> np.ndarray:
        columns = []
        for point in x.T:
            made = _static(priors, priors.to_physical(point), poses.rotation)
            columns.append(np.concatenate([((poses.wrench - made) / NOISE).ravel(), point]))
        return np.stack(columns, axis=1)

    edge = np.full(len(priors), WIDTH)
    x, _ = minimize.least_squares(
        np.zeros(len(priors)), residual, bounds=(-edge, edge), verbose=minimize.Verbosity.SILENT
    )
    step = 1e-6
    points = np.concatenate([x[:, None], x[:, None] + step * np.eye(len(x))], axis=1)
    values = residual(points)[: poses.wrench.size]
    rows = (values[:, 1:] - values[:, :1]) / step
    left = values[:, 0]
    # Errors beyond `NOISE` widen the result; fewer degrees of freedom than readings are left.
    spread = max(1.0, float(left @ left) / max(len(left) - len(x), 1))
    return Posterior(priors, x, rows.T @ rows / spread)


def check_poses(poses: Poses) -> list[Finding]:
    """What is wrong with a set of poses; empty if nothing."""
    found = []
    if len(poses.wrench) < POSES:
        found.append(Finding("few-poses", f"{len(poses.wrench)} static poses; expected {POSES}"))
    down = poses.rotation[:, 2]  # the world's vertical in the sensor's frame, with its sign turned
    variance = np.linalg.eigvalsh(np.cov(down.T))
    if len(down) > 1 and variance[0] <= SPREAD * variance.sum():
        found.append(
            Finding(
                "spread",
                "gravity's direction hardly changes along one sensor axis; expected at least "
                f"{SPREAD:.0%} of its variance along each: tilt the tool further, to all sides",
            )
        )
    for j, name in enumerate([f"{kind} {axis}" for kind in ("force", "torque") for axis in AXES]):
        if np.ptp(poses.wrench[:, j]) < 1e-9:
            text = f"{name} is {poses.wrench[0, j]:g} in every pose; it is dead"
            found.append(Finding("dead-sensor", text))
    return [Finding(f.kind, f"{poses.name}: {f.text}") for f in found]


def _static(priors: Priors, values: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    mass = values[priors.names.index("tool_mass")]
    centre = values[priors.indices([f"tool_centre_{axis}" for axis in AXES])]
    weight = -GRAVITY * mass * rotation[:, 2]
    pure = np.concatenate([weight, np.cross(centre, weight)], axis=1)
    return _by_kind(priors, values, "gain") * pure + _by_kind(priors, values, "bias")


def _by_kind(priors: Priors, values: np.ndarray, key: str) -> np.ndarray:
    """Six gains or biases: forces, then torques."""
    names: Sequence[str] = [f"{kind}_{key}_{axis}" for kind in ("force", "torque") for axis in AXES]
    return values[priors.indices(names)]
