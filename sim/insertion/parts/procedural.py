"""Procedural plugs of a broad distribution, 3–30 mm wide and 6–24 mm long: none is a standard's.

A plug is a family and seven numbers in [−1, 1]: its size and its shape. Training never draws a
plug whose longest pin is as long as that of a plug of the published table (`LENGTH_BANDS`), so that
no plug of the table is drawn, for any values of the other numbers.
"""

from __future__ import annotations

from collections.abc import Callable

from sim.insertion.parts.outline import SIDES
from sim.insertion.plugs import MM, GeometryError, Pin, Plug, Shape

LENGTHS = (6.0, 24.0)
"""Shortest and longest plug [mm]."""
HALF = (LENGTHS[1] - LENGTHS[0]) / 2
HELD_OUT = ((15.6, 16.4), (18.6, 20.4), (22.3, 23.1))
"""Lengths that training never draws [mm]: pegs; EU, US and car plugs; UK."""
LENGTH_BANDS = tuple(
    ((low - LENGTHS[0]) / HALF - 1, (high - LENGTHS[0]) / HALF - 1) for low, high in HELD_OUT
)
"""The same in the coordinate of the first number of a shape."""
THIN = 1.2
"""Thinnest pin [mm]."""
MOST_CLEARANCE = 0.3
"""For which there is room between pins, a side [mm]."""


class Numbers:
    """What a plug is made of, in millimetres."""

    def __init__(self, size: float, shape: Shape) -> None:
        self._size = size
        length, self.thick, self.aspect, self.place, edge, self.kind = shape
        self.length = between(length, *LENGTHS)
        self._edge = between(edge, 0.3, 1.0)

    def width(self, low: float) -> float:
        """Of the whole plug, log-uniform from `low` to 30 mm."""
        return low * (30.0 / low) ** between(self._size, 0.0, 1.0)

    def pin(
        self, x: float, y: float, width: float, depth: float, shorter: float = 0.0, **kind: bool
    ) -> Pin:
        """One pin whose end is rounded as this plug's are."""
        thin = min(width, depth)
        if kind.get("flat"):
            thin = min(width, depth - width / 2)
        blade = not kind and max(width, depth) > 1.1 * thin
        edge = min(self._edge, (0.5 if blade else 0.47) * thin)
        length = self.length - shorter
        size = (x * MM, y * MM, width * MM, depth * MM, length * MM)
        return Pin(*size, edge=edge * MM, around=SIDES, **kind)

    def dome(self, x: float, y: float, diameter: float, shorter: float = 0.0) -> Pin:
        """A round pin with a round end."""
        size = (x * MM, y * MM, diameter * MM, diameter * MM, (self.length - shorter) * MM)
        return Pin(*size, True, diameter / 2 * MM)


def between(unit: float, low: float, high: float) -> float:
    """From [−1, 1] to [low, high]."""
    return low + (unit + 1) / 2 * (high - low)


def _room(pitch: float, round_: bool) -> float:
    """Widest pins at this pitch that leave the socket a wall between them [mm]."""
    wall = 2 * MOST_CLEARANCE + 0.5
    return (pitch - wall) / 1.151 if round_ else pitch - wall


def _peg(n: Numbers) -> tuple[Pin, ...]:
    """A peg: round, or rectangular with a depth of 0.4–1 of its width."""
    w = n.width(3.0)
    if n.kind > 0:
        return (n.pin(0, 0, w, w, round=True),)
    return (n.pin(0, 0, w, max(between(n.aspect, 0.4, 1.0) * w, 2.0)),)


def _d_shaped(n: Numbers) -> tuple[Pin, ...]:
    """Half a disc on a rectangle: from the flat to the arc 0.7–1 of its width."""
    w = n.width(5.0)
    return (n.pin(0, 0, w, between(n.aspect, 0.7, 1.0) * w, round=True, flat=True),)


def _l_shaped(n: Numbers) -> tuple[Pin, ...]:
    """Two legs that touch, 0.15–0.4 of the plug thick; the upright one left or right."""
    w = n.width(6.0)
    h = between(n.aspect, 0.6, 1.0) * w
    t = max(between(n.thick, 0.15, 0.4) * h, THIN)
    side = 1 if n.kind > 0 else -1
    return (n.pin(0, (t - h) / 2, w, t), n.pin(side * (w - t) / 2, t / 2, t, h - t))


def _keyed(n: Numbers) -> tuple[Pin, ...]:
    """A housing with a rib on its long side, and in half of them another on the other side."""
    w = n.width(8.0)
    h = between(n.aspect, 0.4, 0.8) * w
    rib, high = max(between(n.thick, 0.12, 0.3) * w, THIN), max(0.12 * h, THIN)
    x, y = 0.3 * n.place * w, (h + high) / 2
    pins = (n.pin(0, 0, w, h), n.pin(x, y, rib, high))
    return (*pins, n.pin(-x, -y, rib, high)) if n.kind > 0 else pins


def _shell(n: Numbers) -> tuple[Pin, ...]:
    """A hollow rectangle with walls of 0.5–1.5 mm."""
    w = n.width(7.0)
    h = max(between(n.aspect, 0.35, 0.8) * w, 4.5)
    wall = min(between(n.thick, 0.5, 1.5), (h - 2.5) / 2)
    along, across = (h - wall) / 2, (w - wall) / 2
    return (
        *(n.pin(0, s * along, w, wall) for s in (-1, 1)),
        *(n.pin(s * across, 0, wall, h - 2 * wall) for s in (-1, 1)),
    )


def _two_pins(n: Numbers) -> tuple[Pin, ...]:
    """A pair: rectangular, or round in a third of them."""
    w = n.width(7.0)
    return _row(n, w, 0.0, 0.0)


def _three_pins(n: Numbers) -> tuple[Pin, ...]:
    """A pair, up to 4 mm shorter than a third pin opposite, round in half of them."""
    w = n.width(9.0)
    h = between(n.aspect, 0.5, 0.9) * w
    pair = _row(n, w, -h / 3, min(between(n.place, 0.0, 4.0), n.length / 3))
    pitch = 2 / 3 * h - max(p.depth for p in pair) / MM
    d = max(min(between(n.thick, 0.1, 0.35) * w, n.length, 8.0, _room(pitch, True)), THIN)
    if n.kind > 0:
        return (*pair, n.dome(0, 2 / 3 * h, d))
    return (*pair, n.pin(0, 2 / 3 * h, d, 1.2 * d))


def _four_pins(n: Numbers) -> tuple[Pin, ...]:
    """Two pairs, the upper one narrower by up to a third."""
    w = n.width(10.0)
    h = between(n.aspect, 0.5, 1.0) * w
    narrow = between(n.place, 0.67, 1.0)
    return (*_row(n, w, -h / 2, 0.0, h), *_row(n, narrow * w, h / 2, 0.0, h))


def _row(n: Numbers, w: float, y: float, shorter: float, pitch: float = 30.0) -> tuple[Pin, ...]:
    """A pair of pins in a row: w from one's outer side to the other's."""
    round_ = n.kind > 1 / 3
    # Outer side to outer side is pitch plus width.
    d = min(between(n.thick, 0.1, 0.35) * w, _room(w / 2, round_), _room(pitch, round_), 8.0)
    d = max(min(d, n.length - shorter), THIN)
    xs = ((d - w) / 2, (w - d) / 2)
    if round_:
        return tuple(n.dome(x, y, d, shorter) for x in xs)
    depth = min(max(between(n.aspect, 0.6, 2.0) * d, THIN), _room(pitch, False))
    return tuple(n.pin(x, y, d, depth, shorter) for x in xs)


PROCEDURAL: dict[str, Callable[[Numbers], tuple[Pin, ...]]] = {
    "peg": _peg,
    "d_shaped": _d_shaped,
    "l_shaped": _l_shaped,
    "keyed": _keyed,
    "shell": _shell,
    "two_pins": _two_pins,
    "three_pins": _three_pins,
    "four_pins": _four_pins,
}


def procedural_plug(family: str, size: float, shape: Shape) -> Plug:
    """The plug that a family and seven numbers in [−1, 1] stand for. Raises GeometryError."""
    if not all(-1 <= v <= 1 for v in (size, *shape)):
        raise GeometryError(f"plug {family}: size {size:g}, shape {shape}: outside [−1, 1]")
    return Plug(family, PROCEDURAL[family](Numbers(size, shape)))
