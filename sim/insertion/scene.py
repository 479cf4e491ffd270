"""How the insertion task looks: a plug, a socket that is cut open, and cameras."""

from __future__ import annotations

import mujoco
import numpy as np

from sim.core.scene import Scene, View
from sim.insertion.section import PARKED_SIZE, cut_open, geom_name, housing

CLOSE = View((0.0, 0.0, 0.004), 0.125, 82.0, -20.0, 0.3)
"""On the plug's pins and the socket, from the front."""
WHOLE = View((-0.03, 0.26, 0.155), 1.05, 48.0, -16.0, 3.0)
"""The whole arm."""
SOLID, SECTION = (0.30, 0.45, 0.66, 1.0), (0.66, 0.76, 0.90, 1.0)
"""A socket, and where it is cut open."""
METAL, HOUSING = (0.86, 0.85, 0.80, 1.0), (0.93, 0.55, 0.16, 1.0)


def scene(model: mujoco.MjModel, overview: View | None = None) -> Scene:
    """The looks of the rig or the arm, the socket cut open along the pins."""
    cut, faces = cut_open(model)
    return Scene(cut, colours(cut), CLOSE, overview, faces=faces, face_colour=SECTION)


def colours(model: mujoco.MjModel) -> np.ndarray:
    """Colour and opacity of every shape (n_geom, 4); 0 for placeholders and what is cut away."""
    found = model.geom_rgba.copy()
    for prefix, colour in (("socket_", SOLID), ("plug_", METAL)):
        for geom in range(model.ngeom):
            if geom_name(model, geom).startswith(prefix):
                found[geom] = colour if model.geom_size[geom].max() >= PARKED_SIZE else 0.0
    if (top := housing(model)) >= 0:
        found[top] = HOUSING
    return found
