"""Parametric plugs and sockets: pins, slots, and the boxes and capsules that stand for them.

Everything is built from MuJoCo primitives whose collisions are analytic (box, capsule). A slot is
the space that the plate leaves free: the plate is cut into boxes around rectangular holes, and a
round hole is a square hole whose corners are filled by a ring of boxes with their flats at the
bore's radius. A pin is a box whose end carries capsules, so that its edge is rounded as a real
pin's is; a thin round pin is one capsule, a thick peg a ring of them. Dimensions are in metres
here; the families state them in millimetres, as their standards do.

Rigid contact at a time step of 2 ms holds clearances down to 0.05 mm a side; below that the
simulation, not the plug, decides, so `Socket` refuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from adapt.errors import AcclimateError

MM = 1e-3
MIN_CLEARANCE = 0.05 * MM
RING_SIDES = 16
"""Flats of a round bore. Its corners stand 1/cos(π/16) − 1 = 2 % of the radius further out."""
PEG_CAPSULES = 12
"""Capsules around a peg: between two of them its outline falls short by 3.4 % of its radius."""
PLATE_HALF = 40 * MM
PLATE_DEPTH = 26 * MM


Rectangle = tuple[float, float, float, float]
"""x0, x1, y0, y1 [m]"""


Shape = tuple[float, float, float, float, float, float]
"""What a procedural plug is made from: spacing, height, width, depth, extra length, kind; each in
[−1, 1]."""
NOMINAL_SHAPE: Shape = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class GeometryError(AcclimateError):
    """A plug or socket that cannot exist; the message names the part and the sizes."""


@dataclass(frozen=True)
class Pin:
    """One pin, its axis along z: centre (x, y), outline in the plane, length below the housing.

    A rectangular pin has sides `width` (x) and `depth` (y); a round one has both equal to its
    diameter. `edge` is the radius of the rounding of its end.
    """

    x: float
    y: float
    width: float
    depth: float
    length: float
    round: bool = False
    edge: float = 0.75 * MM


@dataclass(frozen=True)
class Plug:
    """A family's plug at one size: pins about the tool centre point, and the seated depth [m]."""

    family: str
    pins: tuple[Pin, ...]

    @property
    def depth(self) -> float:
        """How far the longest pin's end goes below the socket's face when seated [m]."""
        return max(p.length for p in self.pins)


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


# ---------------------------------------------------------------- families, by their standards


def _nema_1_15(s: float) -> tuple[Pin, ...]:
    """US two-blade, polarised: blades 1.5 × 6.35 and 1.5 × 7.9, 12.7 apart, 15.9–18.3 long."""
    k, length = 1 + 0.12 * s, 17.1 + 1.2 * s
    blade: dict[str, Any] = {"width": 1.5 * MM, "length": length * MM, "edge": 0.74 * MM}
    return (
        Pin(-6.35 * k * MM, 0, depth=6.35 * k * MM, **blade),
        Pin(6.35 * k * MM, 0, depth=7.9 * k * MM, **blade),
    )


def _nema_5_15(s: float) -> tuple[Pin, ...]:
    """US grounded: two blades as above and a round ground pin ⌀4.76, 11.9 away, 3 mm longer."""
    k, length = 1 + 0.12 * s, 15.0 + 0.5 * s
    blade: dict[str, Any] = {
        "width": 1.5 * MM,
        "depth": 6.35 * k * MM,
        "length": length * MM,
        "edge": 0.74 * MM,
    }
    y = 4.0 * k
    return (
        Pin(-6.35 * k * MM, y * MM, **blade),
        Pin(6.35 * k * MM, y * MM, **blade),
        Pin(0, (y - 11.9 * k) * MM, 4.76 * MM, 4.76 * MM, (length + 3) * MM, True, 2.38 * MM),
    )


def _cee_7_16(s: float) -> tuple[Pin, ...]:
    """EU: two domed round pins ⌀4.0–4.8, 19 long, about 18.8 apart."""
    d, half = 4.4 + 0.4 * s, 9.4 + 0.8 * s
    size: dict[str, Any] = {"width": d * MM, "depth": d * MM, "length": 19 * MM, "edge": d / 2 * MM}
    return (Pin(-half * MM, 0, round=True, **size), Pin(half * MM, 0, round=True, **size))


def _procedural_2(s: float, shape: Shape) -> tuple[Pin, ...]:
    """Two equal pins, 10–24 apart, rectangular or round, 14–19 long: no standard's."""
    half = 8.5 + 3.5 * shape[0]
    return tuple(_procedural_pin(x, 0.0, 16.5 + 2.5 * s, shape) for x in (-half, half))


def _procedural_3(s: float, shape: Shape) -> tuple[Pin, ...]:
    """A pair as above, 12–24 apart, and 10–24 from it a round pin, up to 6 longer."""
    half, height = 9.0 + 3.0 * shape[0], 17.0 + 7.0 * shape[1]
    length, longer, d = 15.5 + 1.5 * s, 3.0 + 3.0 * shape[4], 4.5 + 0.5 * shape[2]
    pair = tuple(_procedural_pin(x, -height / 3, length, shape) for x in (-half, half))
    earth = Pin(0, height / 1.5 * MM, d * MM, d * MM, (length + longer) * MM, True, d / 2 * MM)
    return (*pair, earth)


def _procedural_pin(x: float, y: float, length: float, shape: Shape) -> Pin:
    """A pin of 2–7 × 2–7, or a round one of ⌀4–5 in a third of all shapes."""
    if shape[5] > 1 / 3:
        d = (4.5 + 0.5 * shape[2]) * MM
        return Pin(x * MM, y * MM, d, d, length * MM, True, d / 2)
    width, depth = 4.5 + 2.5 * shape[2], 4.5 + 2.5 * shape[3]
    # Not so round that the end would be a blade's: a square one would leave that no length.
    edge = min(1.0, 0.47 * width, 0.47 * depth)
    return Pin(x * MM, y * MM, width * MM, depth * MM, length * MM, edge=edge * MM)


def _bs_1363(s: float) -> tuple[Pin, ...]:
    """UK: L and N 6.35 × 4.0 × 17.7, 22.2 apart; earth 4.0 × 8.0 × 22.7, 22.2 above."""
    k = 1 + 0.08 * s
    live: dict[str, Any] = {
        "width": 6.35 * MM,
        "depth": 4.0 * MM,
        "length": 17.7 * MM,
        "edge": 1.0 * MM,
    }
    return (
        Pin(-11.1 * k * MM, -7.4 * k * MM, **live),
        Pin(11.1 * k * MM, -7.4 * k * MM, **live),
        Pin(0, 14.8 * k * MM, 4.0 * MM, 8.0 * MM, 22.7 * MM, edge=1.0 * MM),
    )


def _peg_round(s: float) -> tuple[Pin, ...]:
    """Round peg ⌀8–16 (NIST board 1), 16 deep, 1 mm edge."""
    d = (12 + 4 * s) * MM
    return (Pin(0, 0, d, d, 16 * MM, True, 1.0 * MM),)


def _peg_rect(s: float) -> tuple[Pin, ...]:
    """Rectangular peg from 8 × 7 to 16 × 10 (NIST board 1), 16 deep, 1 mm edge."""
    return (Pin(0, 0, (12 + 4 * s) * MM, (8.5 + 1.5 * s) * MM, 16 * MM, edge=1.0 * MM),)


def _connector(s: float) -> tuple[Pin, ...]:
    """Keyed housing 20–30 × 15, 14 deep, one key rib on its long side."""
    width = 25 + 5 * s
    rib_y = 7.5 + 1.25
    return (
        Pin(0, 0, width * MM, 15 * MM, 14 * MM, edge=1.0 * MM),
        Pin(0.2 * width * MM, rib_y * MM, 4 * MM, 2.5 * MM, 14 * MM, edge=1.0 * MM),
    )


STANDARD: dict[str, Callable[[float], tuple[Pin, ...]]] = {
    "nema_1_15": _nema_1_15,
    "nema_5_15": _nema_5_15,
    "cee_7_16": _cee_7_16,
    "peg_round": _peg_round,
    "peg_rect": _peg_rect,
    "connector": _connector,
    "bs_1363": _bs_1363,
}
PROCEDURAL: dict[str, Callable[[float, Shape], tuple[Pin, ...]]] = {
    "procedural_2": _procedural_2,
    "procedural_3": _procedural_3,
}
FAMILIES = (*STANDARD, *PROCEDURAL)


def make_plug(family: str, size: float, shape: Shape = NOMINAL_SHAPE) -> Plug:
    """The family's plug; `size` in [−1, 1] spans the dimensions that its docstring states.

    shape: six numbers in [−1, 1] that the procedural families are made from.
    """
    if family not in FAMILIES:
        raise GeometryError(f"no plug family {family!r}; there are {sorted(FAMILIES)}")
    if not all(-1 <= v <= 1 for v in (size, *shape)):
        raise GeometryError(f"plug {family}: size {size:g}, shape {shape}: outside [−1, 1]")
    if family in STANDARD:
        return Plug(family, STANDARD[family](size))
    return Plug(family, PROCEDURAL[family](size, shape))


# ---------------------------------------------------------------- shapes


def pin_shapes(pin: Pin, tip: float) -> list[Box | Capsule]:
    """Collision shapes of one pin in the plug's frame, whose origin is the longest pin's end.

    Args:
        pin: the pin.
        tip: height of this pin's end above the origin [m].
    """
    top = tip + pin.length
    r = pin.edge
    if pin.round and r >= 0.49 * pin.width:
        return [Capsule((pin.x, pin.y, top), (pin.x, pin.y, tip + r), r)]
    if pin.round:
        angles = np.arange(PEG_CAPSULES) * 2 * math.pi / PEG_CAPSULES
        ring = pin.width / 2 - r
        return [
            Capsule((x, y, top), (x, y, tip + r), r)
            for x, y in zip(
                pin.x + ring * np.cos(angles), pin.y + ring * np.sin(angles), strict=True
            )
        ]
    half_w, half_d = pin.width / 2, pin.depth / 2
    blade = 2 * r >= 0.95 * pin.width
    if blade:
        r = half_w  # one capsule as wide as the blade, its ends flush with the blade's edges
    shank = Box((pin.x, pin.y, (tip + r + top) / 2), (half_w, half_d, (top - tip - r) / 2))
    z = tip + r
    if blade:
        start, end = (pin.x, pin.y - half_d + r, z), (pin.x, pin.y + half_d - r, z)
        return [shank, Capsule(start, end, r)]
    w, d = half_w - r, half_d - r
    corners = [(-w, -d), (w, -d), (w, d), (-w, d)]
    ring = [
        Capsule((pin.x + a[0], pin.y + a[1], z), (pin.x + b[0], pin.y + b[1], z), r)
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return [shank, *ring]


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
    """Boxes that turn the square hole around a round pin into a regular polygon."""
    # Half as thick as the corner is deep: enough to fill it without reaching another hole.
    thick = max(0.5 * (math.sqrt(2) - 1) * radius, 0.4 * MM)
    half_flat = radius * math.tan(math.pi / RING_SIDES)
    boxes = []
    for i in range(RING_SIDES):
        if i % (RING_SIDES // 4) == 0:
            continue  # these four flats are the square's own sides
        angle = 2 * math.pi * i / RING_SIDES
        reach = radius + thick
        x, y = pin.x + reach * math.cos(angle), pin.y + reach * math.sin(angle)
        half = (thick, half_flat, PLATE_DEPTH / 2)
        boxes.append(Box((x, y, -PLATE_DEPTH / 2), half, angle))
    return boxes
