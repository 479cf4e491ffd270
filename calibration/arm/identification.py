"""Finds the quantities under which the model predicts recordings best.

Nonlinear least squares (`mujoco.minimize`) on readings and torques divided by their standard
deviation, with one row per prior appended, in the priors' standard units. The arm is simulated
from a recording's first sample to its last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mujoco import minimize

from calibration.arm.prediction import Predictor
from calibration.parameters import WIDTH
from calibration.recording import JointRecording

NOISE = np.concatenate([np.full(6, 1e-4), np.full(3, 0.5), np.full(3, 0.1)])
"""Standard deviation (12,) of the sensors alone: readings [rad], then torques [N·m]."""
STEP = 1e-4
"""Of the finite differences, in standard units: friction makes a much smaller one noisy."""
ITERATIONS = 40
TOLERANCE = 5e-4
"""Relative size of the step at which the fit ends."""


@dataclass(frozen=True)
class Fit:
    """The best x (n,) in standard units for noise of standard deviation `scale` (12,).

    errors: of each recording, measured less predicted (T, 12). jacobian (m, n): of all of them,
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
) -> Fit:
    """Minimise from `start` (n,)."""
    priors = predictor.arm.priors

    def residual(x: np.ndarray) -> np.ndarray:
        """Columns (m + n, P) at points x (n, P)."""
        parts = [whitened(predictor, x.T, r, scale) for r in recordings]
        return np.concatenate([*parts, x])

    def told(trace: list[minimize.IterLog]) -> None:
        progress(f"step {len(trace)}: misfit {float(trace[-1].objective):.4g}")

    edge = np.full(len(priors), WIDTH)
    inside = np.clip(start, -0.95 * WIDTH, 0.95 * WIDTH)  # a start on a bound would stay there
    x, trace = minimize.least_squares(
        inside, residual, bounds=(-edge, edge), eps=STEP, max_iter=ITERATIONS, xtol=TOLERANCE,
        gtol=1e-3, verbose=minimize.Verbosity.SILENT, iter_callback=told,
    )  # fmt: skip
    found = [errors(predictor, x, r) for r in recordings]
    return Fit(x, scale, found, jacobian(predictor, x, recordings, scale), len(trace) - 1)


def errors(predictor: Predictor, x: np.ndarray, recording: JointRecording) -> np.ndarray:
    """Measured less predicted (T, 12): readings [rad], then torques [N·m], at x (n,)."""
    ones = np.ones(12)
    return whitened(predictor, x[None], recording, ones)[:, 0].reshape(-1, 12)


def jacobian(
    predictor: Predictor, x: np.ndarray, recordings: Sequence[JointRecording], scale: np.ndarray
) -> np.ndarray:
    """Derivatives (m, n) of the errors divided by `scale`, at x (n,)."""
    points = np.concatenate([x[None], x + STEP * np.eye(len(x))])
    rows = [whitened(predictor, points, r, scale) for r in recordings]
    together = np.concatenate(rows)
    return (together[:, 1:] - together[:, :1]) / STEP


def whitened(
    predictor: Predictor, points: np.ndarray, recording: JointRecording, scale: np.ndarray
) -> np.ndarray:
    """Errors divided by `scale`, (12 T, P), at points (P, n)."""
    made = predictor(predictor.arm.priors.to_physical(points), recording)
    error = np.concatenate([recording.q - made.q, recording.torque - made.torque], axis=-1)
    error = np.nan_to_num(error, nan=1e6, posinf=1e6, neginf=-1e6)
    return (error / scale).reshape(len(points), -1).T
