"""Where a picture is taken from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """Where a camera stands: it looks at `target` (3,) from `distance` [m]; azimuth and elevation
    in degrees, as MuJoCo's free camera has them. backdrop: from the target to a plain wall [m]."""

    target: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float
    backdrop: float


CLOSE = View((0.0, 0.0, 0.004), 0.125, 82.0, -20.0, 0.3)
"""On the plug's pins and the socket, from the front."""
WHOLE = View((-0.03, 0.26, 0.155), 1.05, 48.0, -16.0, 3.0)
"""The whole arm."""


def directions(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors to the right, up, and away from the camera."""
    a, e = np.radians([view.azimuth, view.elevation])
    forward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([np.sin(a), -np.cos(a), 0.0])
    return right, np.cross(right, forward), forward
