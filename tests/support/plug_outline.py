"""Plugs and sockets as seen from above: outlines, and how far apart they are."""

import math

import numpy as np

from sim.insertion.plugs import Plug
from sim.insertion.shapes import Box, Capsule, plug_shapes, socket_shapes


def outline(shape: Box | Capsule) -> np.ndarray:
    """Points (N, 2) on a plug shape's outline as seen along its axis."""
    if isinstance(shape, Box):
        t = np.linspace(-1, 1, 101)
        edges = [(t, 1 + 0 * t), (t, -1 + 0 * t), (1 + 0 * t, t), (-1 + 0 * t, t)]
        points = np.concatenate([np.stack(e, 1) for e in edges])
        return points * shape.half[:2] + shape.centre[:2]
    angle = np.linspace(0, 2 * np.pi, 721)
    circle = shape.radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    ends = [np.array(shape.start[:2]), np.array(shape.end[:2])]
    return np.concatenate([circle + e for e in [*ends, (ends[0] + ends[1]) / 2]])


def distance(points: np.ndarray, box: Box) -> np.ndarray:
    """Signed distance (N,) of points (N, 2) to a socket box seen from above; inside is negative."""
    c, s = math.cos(box.yaw), math.sin(box.yaw)
    local = (points - box.centre[:2]) @ np.array([[c, -s], [s, c]])
    q = abs(local) - box.half[:2]
    return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(axis=1), 0)


def pins_of(plug: Plug) -> list[Box | Capsule]:
    return plug_shapes(plug)[:-1]  # the housing is last


def gap(plug: Plug, clearance: float) -> float:
    """Smallest distance [m] between a plug's pins and the socket that is made for it."""
    points = np.concatenate([outline(s) for s in pins_of(plug)])
    return min(distance(points, b).min() for b in socket_shapes(plug, clearance))
