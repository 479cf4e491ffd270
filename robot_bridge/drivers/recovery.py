"""Standing up again: what a quadruped's driver does between a fall and the next episode.

A fall ends the episode, and the robot comes to rest under damping. From there `StandUp` folds the
legs under the trunk and rises to the stance. It is made for a trunk that lies on its belly; one on
its side or back is for a person.
"""

from __future__ import annotations

import numpy as np

FOLDED = np.tile([0.0, 1.3, -2.6], 4)
"""Joint angles with the feet under the hips and the legs folded [rad]: hip, thigh, calf."""
FOLD, RISE = 1.0, 2.0
"""For how long the legs fold and then stretch [s]."""
STEEPEST = 0.7
"""Tilt of the trunk beyond which it is not tried [rad]."""


def can_stand_up(gravity: np.ndarray) -> bool:
    """Whether the trunk lies nearly upright. gravity: (3,) unit vector in the body's frame."""
    down = np.asarray(gravity, float) / np.linalg.norm(gravity)
    return bool(-down[2] > np.cos(STEEPEST))


class StandUp:
    """Joint targets from where a robot lies to its stance, for `duration` [s].

    joints: (12,) angles now, stance: (12,) at the end [rad], in the order of `gait`.
    """

    duration = FOLD + RISE

    def __init__(self, joints: np.ndarray, stance: np.ndarray) -> None:
        self._joints, self._stance = np.array(joints, float), np.array(stance, float)

    def targets(self, elapsed: float) -> np.ndarray:
        """Joint targets (12,) [rad], `elapsed` [s] after the start; smooth, at rest at both ends of
        each part."""
        folded = _ease(elapsed / FOLD)
        risen = _ease((elapsed - FOLD) / RISE)
        lying = self._joints + folded * (FOLDED - self._joints)
        return lying + risen * (self._stance - lying)


def _ease(share: float) -> float:
    """From 0 to 1, with no speed at either end."""
    x = min(max(share, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)
