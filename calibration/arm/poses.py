"""Static poses of the arm that turn its tool to all sides, for the wrist's sensor."""

from __future__ import annotations

import numpy as np

from calibration.arm.model import LAYOUT, ArmModel

SPREAD = np.array([0.9, 0.35, 0.5, 2.5, 2.5, 3.0])
"""How far a pose may lie from the arm's `ready`, joint by joint [rad]."""


def static_poses(arm: ArmModel, seed: int, count: int) -> np.ndarray:
    """Joint positions (count, 6) [rad] that are safe for the arm."""
    rng = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    while len(found) < count:
        posture = LAYOUT.ready + rng.uniform(-1, 1, len(SPREAD)) * SPREAD
        if not arm.unsafe(posture[None]):
            found.append(posture)
    return np.array(found)
