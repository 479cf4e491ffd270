"""Cuts a socket open along the plug's main row of pins, so that a picture shows its slots."""

from __future__ import annotations

import copy

import mujoco

PARKED_SIZE = 0.0011
"""Shapes no larger than this [m] are placeholders and are not drawn."""
BOX = int(mujoco.mjtGeom.mjGEOM_BOX)


def geom_name(model: mujoco.MjModel, geom: int) -> str:
    """Name of a shape, "" for one without."""
    return mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom) or ""


def shapes(model: mujoco.MjModel, prefix: str) -> list[int]:
    """Ids of the shapes whose name begins so, without placeholders."""
    return [
        geom
        for geom in range(model.ngeom)
        if geom_name(model, geom).startswith(prefix) and model.geom_size[geom].max() >= PARKED_SIZE
    ]


def housing(model: mujoco.MjModel) -> int:
    """Id of the plug's housing, which is above all pins; -1 without a plug."""
    return max(shapes(model, "plug_"), key=lambda geom: model.geom_pos[geom, 2], default=-1)


def cut_open(model: mujoco.MjModel) -> tuple[mujoco.MjModel, list[int]]:
    """A copy for pictures whose socket lacks everything in front of the pins' plane, and the ids
    of the boxes that the plane cuts: their front faces are the section."""
    cut = copy.copy(model)
    plane = _row(model)
    faces = []
    for geom in shapes(model, "socket_"):
        centre, half = model.geom_pos[geom, 1], model.geom_size[geom, 1]
        turned = abs(model.geom_quat[geom, 3]) > 1e-6
        # The small boxes around a round bore are turned: each stays or goes as a whole.
        near, far = (centre, centre) if turned else (centre - half, centre + half)
        if far < plane:
            cut.geom_size[geom] = 0.0
        elif near < plane:
            cut.geom_pos[geom, 1], cut.geom_size[geom, 1] = (plane + far) / 2, (far - plane) / 2
            faces.append(geom)
    return cut, faces


def _row(model: mujoco.MjModel) -> float:
    """The plane y [m] with the most pins in it: by the width of their boxes or, without boxes, by
    the number of capsules; the nearest to the middle among equals."""
    pins = [geom for geom in shapes(model, "plug_") if geom != housing(model)]
    boxes = [geom for geom in pins if model.geom_type[geom] == BOX]
    width: dict[float, float] = {}
    for geom in boxes or pins:
        y = round(float(model.geom_pos[geom, 1]), 5)
        width[y] = width.get(y, 0.0) + (model.geom_size[geom, 0] if boxes else 1.0)
    return max(width, key=lambda y: (round(width[y], 5), -abs(y)), default=0.0)
