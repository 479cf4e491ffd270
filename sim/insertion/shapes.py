"""The boxes and capsules that represent a plug and its socket.

Everything is built from MuJoCo primitives whose collisions are analytic (box, capsule). A slot is
the space that the plate leaves free: the plate is cut into boxes around rectangular holes, and a
round hole is a square hole whose corners are filled by a ring of boxes with their flats at the
bore's radius. A pin is a box whose end carries capsules, so that its edge is rounded as a real
pin's is; a thin round pin is one capsule, a thick peg a ring of them (with n capsules its outline
falls short by 1 − cos(π/n) of its radius between two of them). A pin of any other outline, such as
an L or a shell, is several boxes that touch.

Rigid contact at a time step of 2 ms resolves clearances down to 0.05 mm a side; `socket_shapes`
refuses smaller ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sim.insertion.plugs import MM, GeometryError, Pin, Plug

MIN_CLEARANCE = 0.05 * MM
RING_SIDES = 16
"""Flats of a round bore. Its corners stand 1/cos(π/16) − 1 = 2 % of the radius further out."""
PLATE_HALF = 40 * MM
PLATE_DEPTH = 26 * MM

Rectangle = tuple[float, float, float, float]
"""x0, x1, y0, y1 [m]"""


@dataclass(frozen=True)
class Box:
    """Axis-aligned in its own frame: centre, half sizes [m], rotation about z [rad]."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float = 0.0


@dataclass(frozen=True)
class Capsule:
    """Two end points [m] and a radius [m]."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float


def pin_shapes(pin: Pin, tip: float) -> list[Box | Capsule]:
    """Collision shapes of one pin in the plug's frame, whose origin is the longest pin's end.

    Args:
        pin: the pin.
        tip: height of this pin's end above the origin [m].
    """
    top, r = tip + pin.length, pin.edge
    if pin.round and not pin.flat and r >= 0.49 * pin.width:
        return [Capsule((pin.x, pin.y, top), (pin.x, pin.y, tip + r), r)]
    if pin.round and not pin.flat:
        return [*_upright(pin, tip, np.arange(pin.around) * 2 * math.pi / pin.around)]
    if pin.flat:
        half_turn = np.arange(pin.around // 2 + 1) * 2 * math.pi / pin.around
        straight = Pin(
            pin.x, pin.y - pin.width / 4, pin.width, pin.depth - pin.width / 2, pin.length, edge=r
        )
        shank, *rim = _prism(straight, tip)
        # The rim along the arc's diameter lies inside.
        return [shank, *(rim[:2] + rim[3:]), *_upright(pin, tip, half_turn)]
    return _prism(pin, tip)


def _prism(pin: Pin, tip: float) -> list[Box | Capsule]:
    """A box whose end is rounded by capsules: along its four sides, or one if it is a blade."""
    top, r = tip + pin.length, pin.edge
    half_w, half_d = pin.width / 2, pin.depth / 2
    thin = min(half_w, half_d)
    blade = r >= 0.95 * thin
    if blade:
        r = thin  # one capsule as wide as the blade, its ends flush with the blade's edges
    shank = Box((pin.x, pin.y, (tip + r + top) / 2), (half_w, half_d, (top - tip - r) / 2))
    z, w, d = tip + r, half_w - r, half_d - r
    if blade:
        start, end = (pin.x - w, pin.y - half_d + r, z), (pin.x + w, pin.y + half_d - r, z)
        return [shank, Capsule(start, end, r)]
    corners = [(-w, -d), (w, -d), (w, d), (-w, d)]
    rim = [
        Capsule((pin.x + a[0], pin.y + a[1], z), (pin.x + b[0], pin.y + b[1], z), r)
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return [shank, *rim]


def _upright(pin: Pin, tip: float, angles: np.ndarray) -> list[Capsule]:
    """Capsules along a round pin's axis that touch its outline from within at these angles."""
    (x, y), r = pin.arc, pin.edge
    ring = pin.width / 2 - r
    return [
        Capsule((at_x, at_y, tip + pin.length), (at_x, at_y, tip + r), r)
        for at_x, at_y in zip(x + ring * np.cos(angles), y + ring * np.sin(angles), strict=True)
    ]


def plug_shapes(plug: Plug) -> list[Box | Capsule]:
    """All collision shapes of a plug, origin at the longest pin's end, housing last."""
    shapes: list[Box | Capsule] = []
    for pin in plug.pins:
        shapes += pin_shapes(pin, plug.depth - pin.length)
    xs = [abs(p.x) + p.width / 2 for p in plug.pins]
    ys = [abs(p.y) + p.depth / 2 for p in plug.pins]
    half = (max(xs) + 3 * MM, max(ys) + 3 * MM, 6 * MM)
    shapes.append(Box((0, 0, plug.depth + half[2]), half))
    return shapes


def socket_shapes(plug: Plug, clearance: float) -> list[Box]:
    """Rigid boxes of the socket that fits a plug, its face at z = 0, `clearance` [m] a side."""
    # The negation catches NaN as well.
    if not clearance >= MIN_CLEARANCE:
        raise GeometryError(
            f"socket for {plug.family}: clearance {clearance / MM:.3f} mm a side is below "
            f"{MIN_CLEARANCE / MM:g} mm: the plug would be wider than its socket, or too close to "
            "it for rigid contact to mean anything"
        )
    holes = []
    for p in plug.pins:
        w, d = p.width / 2 + clearance, p.depth / 2 + clearance
        holes.append((p.x - w, p.x + w, p.y - d, p.y + d))
    boxes = [_slab(*cell) for cell in _plate_cells(holes)]
    for p in plug.pins:
        if p.round:
            boxes += _ring(p, p.width / 2 + clearance)
    return boxes


def _plate_cells(holes: list[Rectangle]) -> list[Rectangle]:
    """Cut the square plate, less rectangular holes (x0, x1, y0, y1), into rectangles."""
    edge = PLATE_HALF
    for x0, x1, y0, y1 in holes:
        if min(x0, y0) <= -edge or max(x1, y1) >= edge:
            raise GeometryError(f"a slot reaches past the plate's half size {edge / MM:g} mm")
    cuts = sorted({-edge, edge, *(y for h in holes for y in h[2:])})
    bands: list[tuple[float, float, list[tuple[float, float]]]] = []
    for y0, y1 in pairwise(cuts):
        middle = (y0 + y1) / 2
        spans = sorted((h[0], h[1]) for h in holes if h[2] < middle < h[3])
        solid, x = [], -edge
        for a, b in spans:
            if a > x:
                solid.append((x, a))
            x = max(x, b)
        solid.append((x, edge))
        if bands and bands[-1][2] == solid:
            bands[-1] = (bands[-1][0], y1, solid)
        else:
            bands.append((y0, y1, solid))
    return [(x0, x1, y0, y1) for y0, y1, solid in bands for x0, x1 in solid]


def _slab(x0: float, x1: float, y0: float, y1: float) -> Box:
    centre = ((x0 + x1) / 2, (y0 + y1) / 2, -PLATE_DEPTH / 2)
    return Box(centre, ((x1 - x0) / 2, (y1 - y0) / 2, PLATE_DEPTH / 2))


def _ring(pin: Pin, radius: float) -> list[Box]:
    """Boxes that turn the square hole around a round pin into a regular polygon, and the hole
    around a D-shaped one into half of it."""
    # Half as thick as the corner is deep: enough to fill it without reaching another hole.
    thick = max(0.5 * (math.sqrt(2) - 1) * radius, 0.4 * MM)
    half_flat = radius * math.tan(math.pi / RING_SIDES)
    boxes = []
    for i in range(RING_SIDES // 2 if pin.flat else RING_SIDES):
        if i % (RING_SIDES // 4) == 0:
            continue  # these four flats are the square's own sides
        angle = 2 * math.pi * i / RING_SIDES
        reach = radius + thick
        x, y = pin.arc[0] + reach * math.cos(angle), pin.arc[1] + reach * math.sin(angle)
        half = (thick, half_flat, PLATE_DEPTH / 2)
        boxes.append(Box((x, y, -PLATE_DEPTH / 2), half, angle))
    return boxes
