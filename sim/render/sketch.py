"""A model drawn with matplotlib: outlines of its shapes, seen from far away, the nearest last."""

from __future__ import annotations

import mujoco
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from sim.core.scene import View

FIELD = np.tan(np.radians(45.0) / 2)
"""Half the height of the picture over the camera's distance: MuJoCo's free camera sees 45°."""
PIXELS_PER_INCH = 100
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CAP = np.radians([30.0, 60.0, 90.0])
RIM = np.linspace(0, 2 * np.pi, 24, endpoint=False)
BALL = np.stack(
    [
        (np.cos(RIM)[:, None] * np.cos(RIM)).ravel(),
        (np.sin(RIM)[:, None] * np.cos(RIM)).ravel(),
        np.tile(np.sin(RIM), len(RIM)),
    ],
    axis=1,
)


def sketch(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    colours: np.ndarray,
    width: int,
    height: int,
    view: View,
) -> np.ndarray:
    """Picture (height, width, 3), uint8. colours: (n_geom, 4)."""
    figure = Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH))
    figure.set_dpi(PIXELS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    half = view.distance * FIELD
    axes.set_xlim(-half * width / height, half * width / height)
    axes.set_ylim(-half, half)
    axes.set_axis_off()
    right, up, forward = view.directions()
    shapes = []
    for geom in np.flatnonzero(colours[:, 3] > 0):
        points = outline(model, data, int(geom))
        if points is None:
            continue
        points = points - view.target
        away = float((points @ forward).mean())
        if away > view.backdrop:
            continue
        flat = np.stack([points @ right, points @ up], axis=1)
        shapes.append((away, hull(flat), colours[geom]))
    for _, flat, colour in sorted(shapes, key=lambda shape: -shape[0]):
        axes.add_patch(Polygon(flat, facecolor=colour, edgecolor=(0, 0, 0, 0.35), linewidth=0.6))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:height, :width, :3].copy()


def outline(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray | None:
    """Points (n, 3) [m] whose hull is the shape; None for a kind that is not drawn."""
    size, kind = model.geom_size[geom], mujoco.mjtGeom(int(model.geom_type[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        local = CORNERS * size
    elif kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        rings = [(size[0], size[1])]
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            rings += [(size[0] * np.cos(a), size[1] + size[0] * np.sin(a)) for a in CAP]
        local = np.concatenate(
            [
                np.stack([r * np.cos(RIM), r * np.sin(RIM), np.full(len(RIM), sign * z)], axis=1)
                for r, z in rings
                for sign in (-1, 1)
            ]
        )
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        local = size[0] * BALL
    else:
        return None
    return local @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]


def hull(points: np.ndarray) -> np.ndarray:
    """Convex hull (m, 2) of points (n, 2), counter-clockwise (Andrew's monotone chain)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return np.array(ordered)

    def chain(sequence: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for x, y in sequence:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2], kept[-1]
                if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))
