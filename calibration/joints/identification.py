"""Finds the quantities under which the model predicts recordings best.

Nonlinear least squares (`mujoco.minimize`) on readings and torques divided by their standard
deviation, with one row per prior appended, in the priors' standard units. The robot is simulated
from a recording's first sample to its last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mujoco import minimize

from calibration.joints.prediction import Predictor
from calibration.parameters import WIDTH
from calibration.recording import JointRecording

STEP = 1e-4
"""Of the finite differences, in standard units: friction makes a much smaller one noisy."""
ITERATIONS = 40
REUSE = 0.3
"""Distance, in standard units, within which derivatives are taken to be the same."""


@dataclass(frozen=True)
class Fit:
    """The best x (p,) in standard units for noise of standard deviation `scale` (2n,), of n joints.

    errors: of each recording, measured less predicted (T, 2n). jacobian (m, p): of all of them,
    divided by `scale`, without the priors' rows. iterations: that it took.
    """

    x: np.ndarray
    scale: np.ndarray
    errors: list[np.ndarray]
    jacobian: np.ndarray
    iterations: int


def fit(
    predictor: Predictor,
    recordings: Sequence[JointRecording],
    start: np.ndarray,
    scale: np.ndarray,
    progress: Callable[[str], None] = lambda text: None,
    tolerance: float = 2e-3,
    earlier: Fit | None = None,
) -> Fit:
    """Minimise from `start` (p,) until a step is as small as `tolerance`, relative to x. earlier: a
    fit of the same recordings, whose derivatives are used near its x."""
    priors = predictor.robot.priors
    known = _Derivatives(predictor, recordings, scale)
    if earlier is not None:
        known.remember(earlier)

    def residual(x: np.ndarray) -> np.ndarray:
        """Columns (m + p, P) at points x (p, P)."""
        parts = [whitened(predictor, x.T, r, scale) for r in recordings]
        return np.concatenate([*parts, x])

    def derivatives(x: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.concatenate([known.near(x[:, 0], REUSE), np.eye(len(priors))])

    def told(trace: list[minimize.IterLog]) -> None:
        progress(f"step {len(trace)}: misfit {float(trace[-1].objective):.4g}")

    edge = np.full(len(priors), WIDTH)
    inside = np.clip(start, -0.95 * WIDTH, 0.95 * WIDTH)  # a start on a bound would stay there
    x, trace = minimize.least_squares(
        inside, residual, bounds=(-edge, edge), jacobian=derivatives, max_iter=ITERATIONS,
        xtol=tolerance, gtol=1e-3, verbose=minimize.Verbosity.SILENT, iter_callback=told,
    )  # fmt: skip
    found = [errors(predictor, x, r) for r in recordings]
    return Fit(x, scale, found, known.near(x, REUSE), len(trace) - 1)


class _Derivatives:
    """The jacobian of some recordings, which changes little from one step of a fit to the next."""

    def __init__(
        self, predictor: Predictor, recordings: Sequence[JointRecording], scale: np.ndarray
    ) -> None:
        self._make = lambda x: jacobian(predictor, x, recordings, scale)
        self._scale = scale
        self._x = np.full(len(predictor.robot.priors), np.inf)
        self._rows = np.zeros((0, 0))

    def remember(self, fit: Fit) -> None:
        """Take those of a fit that weighed the channels otherwise."""
        rows = fit.jacobian.reshape(-1, len(self._scale), len(fit.x))
        self._x = fit.x
        self._rows = (rows * (fit.scale / self._scale)[:, None]).reshape(fit.jacobian.shape)

    def near(self, x: np.ndarray, distance: float) -> np.ndarray:
        """(m, p) at x (p,), or at a point that is as near as that."""
        if not np.linalg.norm(x - self._x) <= distance:
            self._x, self._rows = x.copy(), self._make(x)
        return self._rows


def errors(predictor: Predictor, x: np.ndarray, recording: JointRecording) -> np.ndarray:
    """Measured less predicted (T, 2n): readings [rad], then torques [N·m], at x (p,)."""
    ones = np.ones(len(predictor.robot.layout.noise))
    return whitened(predictor, x[None], recording, ones)[:, 0].reshape(-1, len(ones))


def jacobian(
    predictor: Predictor, x: np.ndarray, recordings: Sequence[JointRecording], scale: np.ndarray
) -> np.ndarray:
    """Derivatives (m, p) of the errors divided by `scale`, at x (p,).

    Quantities of different chains are varied in one simulation (Curtis, Powell and Reid, 1974).
    """
    groups, n = predictor.robot.groups, len(predictor.robot.joints)
    points = np.tile(x, (1 + len(groups), 1))
    for point, group in zip(points[1:], groups, strict=True):
        point[list(group)] += STEP
    parts = []
    for recording in recordings:
        made = whitened(predictor, points, recording, scale).reshape(-1, 2 * n, len(points))
        rows = np.zeros((len(made), 2 * n, len(x)))
        for k, group in enumerate(groups, start=1):
            for i, joints in group.items():
                channels = np.concatenate([joints, n + joints])
                rows[:, channels, i] = made[:, channels, k] - made[:, channels, 0]
        parts.append(rows.reshape(-1, len(x)) / STEP)
    return np.concatenate(parts)


def whitened(
    predictor: Predictor, points: np.ndarray, recording: JointRecording, scale: np.ndarray
) -> np.ndarray:
    """Errors divided by `scale`, (2n T, P), at points (P, p)."""
    made = predictor(predictor.robot.priors.to_physical(points), recording)
    error = np.concatenate([recording.q - made.q, recording.torque - made.torque], axis=-1)
    error = np.nan_to_num(error, nan=1e6, posinf=1e6, neginf=-1e6)
    return (error / scale).reshape(len(points), -1).T
