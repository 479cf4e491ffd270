"""Pins from the rows of a plug's file, and whether a plug has room in its plate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from sim.insertion.plugs import MM, GeometryError, Pin, Plug
from sim.insertion.shapes import PLATE_HALF, Box, plug_shapes, socket_shapes

Outline = Literal["rectangular", "round", "d", "shell"]
SIDES = 16
"""Capsules around a thick round pin: as many as its bore has flats, each before one of them."""
DOMED = 6.0
"""Largest diameter of a round pin that ends in a dome unless its file says otherwise [mm]."""
EDGE = 1.0
"""Largest rounding of any other end that its file does not ask for [mm]."""
LEAST, LENGTHS = 0.6, (3.0, 25.0)
"""Smallest side of a pin, and shortest and longest pin [mm]; the plate is 26 mm deep."""
WALL = 0.5
"""Thinnest wall of a socket between two pins [mm]."""
RIM = 2.0
"""What a plate keeps around its holes [mm]."""
TOUCHING = 1e-4
"""Distance below which two pins touch [mm]."""
PLUG_BOXES, PLUG_CAPSULES, SOCKET_BOXES = 5, 16, 60
"""Most shapes of a plug and of a socket in one simulation."""


@dataclass(frozen=True)
class PinRow:
    """One pin, in millimetres.

    shape: rectangular; round; d, half a disc on a rectangle, its arc toward +y; or shell, a hollow
        rectangle. at: x and y of its centre. size: along x and along y; of a round pin its
        diameter. edge: radius of the rounding of its end. wall: of a shell.
    """

    shape: Outline
    at: tuple[float, float]
    size: float | tuple[float, float]
    length: float
    edge: float | None = None
    wall: float | None = None


def row_pins(row: PinRow) -> list[Pin]:
    """The pins that a row stands for: one, or four walls of a shell.

    Raises GeometryError naming the key, its value and what is possible.
    """
    width, depth = _sides(row)
    low, high = LENGTHS
    # The negations catch NaN as well.
    if not low <= row.length <= high:
        raise GeometryError(f"length is {row.length:g}; expected {low:g} to {high:g} mm")
    if not all(math.isfinite(v) for v in row.at):
        raise GeometryError(f"at is {list(row.at)}; expected [x, y] of its centre in mm")
    if (row.wall is None) == (row.shape == "shell"):
        raise GeometryError(f"wall is {row.wall}; expected it of a shell, and of a shell alone")
    if row.shape == "shell":
        return _shell(row, width, depth)
    thin = min(width, depth)
    if row.shape == "d":
        thin = min(width, depth - width / 2)
        if not thin >= LEAST:
            raise GeometryError(
                f"size is {[width, depth]}; expected a d whose second number, from the flat to the "
                f"arc, is at least half the first and {LEAST:g} mm more"
            )
    blade = row.shape == "rectangular" and max(width, depth) >= 1.1 * thin
    most = thin / 2 if blade or row.shape == "round" else 0.47 * thin
    dome = row.shape == "round" and width <= DOMED
    edge = min(thin / 2 if dome else EDGE, most) if row.edge is None else row.edge
    if not 0.2 <= edge <= most + 1e-9:
        raise GeometryError(f"edge is {edge:g}; expected 0.2 to {most:g} mm")
    return [_pin(row, *row.at, width, depth, edge)]


def _sides(row: PinRow) -> tuple[float, float]:
    """Along x and y [mm]."""
    if isinstance(row.size, tuple) == (row.shape == "round"):
        wanted = "its diameter" if row.shape == "round" else "[along x, along y]"
        size = list(row.size) if isinstance(row.size, tuple) else row.size
        raise GeometryError(f"size is {size}; expected {wanted} in mm for shape {row.shape}")
    width, depth = row.size if isinstance(row.size, tuple) else (row.size, row.size)
    if not (width >= LEAST and depth >= LEAST):
        raise GeometryError(f"size is {row.size}; expected at least {LEAST:g} mm each way")
    return width, depth


def _shell(row: PinRow, width: float, depth: float) -> list[Pin]:
    wall, most = row.wall or 0.0, min(width, depth) / 2 - 1.0
    if not 0.5 <= wall <= most:
        raise GeometryError(
            f"wall is {row.wall:g}; expected 0.5 to {max(most, 0.5):g} mm: a shell is hollow, and "
            "this one has room for no more"
            if most >= 0.5
            else f"size is {[width, depth]}; expected a shell of at least 3 mm each way"
        )
    x, y = row.at
    edge = wall / 2 if row.edge is None else row.edge
    if not 0.2 <= edge <= wall / 2:
        raise GeometryError(f"edge is {edge:g}; expected 0.2 to {wall / 2:g} mm, half the wall")
    across, along = (width - wall) / 2, (depth - wall) / 2
    return [
        *(_pin(row, x, y + s * along, width, wall, edge) for s in (-1, 1)),
        *(_pin(row, x + s * across, y, wall, depth - 2 * wall, edge) for s in (-1, 1)),
    ]


def _pin(row: PinRow, x: float, y: float, width: float, depth: float, edge: float) -> Pin:
    size = (x * MM, y * MM, width * MM, depth * MM, row.length * MM)
    return Pin(*size, row.shape in ("round", "d"), edge * MM, row.shape == "d", SIDES)


def check_room(parts: Sequence[Sequence[Pin]], clearance: float) -> None:
    """Raise GeometryError unless pins lie apart or touch, and plate and simulation hold them.

    parts: the pins of each row of a file. clearance: the largest, a side [m].
    """
    for (i, first), (j, second) in combinations(enumerate(parts, 1), 2):
        gap = min(_gap(a, b) for a in first for b in second) / MM
        arc = max((p.width / 2 for p in (*first, *second) if p.round), default=0.0) / MM
        needed = 2 * clearance / MM + WALL + 0.3 * arc
        if gap < -TOUCHING:
            raise GeometryError(f"pins {i} and {j} overlap by {-gap:g} mm; move one of them")
        if TOUCHING < gap < needed or (gap < TOUCHING and arc):
            raise GeometryError(
                f"pins {i} and {j} are {gap:.3g} mm apart; expected at least {needed:.3g} mm for "
                "the socket's wall between them" + ("" if arc else ", or 0: pins that touch")
            )
    for i, part in enumerate(parts, 1):
        for axis, at, side in (("x", "x", "width"), ("y", "y", "depth")):
            reach = max(abs(getattr(p, at)) + getattr(p, side) / 2 for p in part) + clearance
            most = PLATE_HALF - RIM * MM
            if not reach <= most:
                raise GeometryError(
                    f"pin {i}: its hole reaches {reach / MM:g} mm along {axis}; expected at "
                    f"most {most / MM:g} mm from the middle of an {2 * PLATE_HALF / MM:g} mm plate"
                )
    plug = Plug("plug", tuple(pin for part in parts for pin in part))
    shapes = plug_shapes(plug)
    boxes = sum(isinstance(s, Box) for s in shapes)
    found = (boxes, len(shapes) - boxes, len(socket_shapes(plug, clearance)))
    if any(
        n > most for n, most in zip(found, (PLUG_BOXES, PLUG_CAPSULES, SOCKET_BOXES), strict=True)
    ):
        raise GeometryError(
            f"pins: {len(parts)} rows make {found[0]} boxes and {found[1]} capsules in a socket of "
            f"{found[2]} boxes; expected at most {PLUG_BOXES}, {PLUG_CAPSULES} and {SOCKET_BOXES}: "
            "fewer pins, thinner blades or domed round pins need fewer"
        )


def _gap(a: Pin, b: Pin) -> float:
    """Distance between the rectangles around two pins [m]; negative where they overlap."""
    dx = abs(a.x - b.x) - (a.width + b.width) / 2
    dy = abs(a.y - b.y) - (a.depth + b.depth) / 2
    return math.hypot(dx, dy) if min(dx, dy) > 0 else max(dx, dy)
