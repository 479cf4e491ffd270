"""Parametric plugs: pins and families of plugs, with the dimensions of their standards.

Dimensions are in metres; the families write them in millimetres, as their standards do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapt.errors import AcclimateError

MM = 1e-3

Shape = tuple[float, float, float, float, float, float]
"""What a procedural plug is made from: spacing, height, width, depth, extra length, kind; each in
[−1, 1]."""
NOMINAL_SHAPE: Shape = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class GeometryError(AcclimateError):
    """A plug or socket of impossible sizes."""


@dataclass(frozen=True)
class Pin:
    """One pin, its axis along z: centre (x, y), outline in the plane, length below the housing.

    A rectangular pin has sides `width` (x) and `depth` (y); a round one has both equal to its
    diameter. `edge` is the radius of the rounding of its end. A round pin that is `flat` is
    D-shaped: half a disc of diameter `width`, its arc toward +y, on a rectangle, `depth` from the
    flat to the arc. `around` is how many capsules stand around a thick round pin.
    """

    x: float
    y: float
    width: float
    depth: float
    length: float
    round: bool = False
    edge: float = 0.75 * MM
    flat: bool = False
    around: int = 12

    @property
    def arc(self) -> tuple[float, float]:
        """Centre of a round pin's arc [m]: its own, unless it is D-shaped."""
        return (self.x, self.y + (self.depth - self.width) / 2)


@dataclass(frozen=True)
class Plug:
    """A family's plug at one size: pins about the tool centre point, and the seated depth [m]."""

    family: str
    pins: tuple[Pin, ...]

    @property
    def depth(self) -> float:
        """How far the longest pin's end goes below the socket's face when seated [m]."""
        return max(p.length for p in self.pins)

    @property
    def turns_freely(self) -> bool:
        """Whether its yaw makes no difference to the socket: a single round pin on the axis."""
        return len(self.pins) == 1 and self.pins[0].round and not self.pins[0].flat


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
    """Two equal pins, 10–24 apart, rectangular or round, 14–19 long: not from a standard."""
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
TITLES = {
    "nema_1_15": "US plug, two blades (NEMA 1-15)",
    "nema_5_15": "US plug, grounded (NEMA 5-15)",
    "cee_7_16": "European plug, two round pins (CEE 7/16)",
    "peg_round": "round peg",
    "peg_rect": "rectangular peg",
    "connector": "keyed connector",
    "bs_1363": "British plug (BS 1363)",
    "procedural_2": "plug of no standard, two pins",
    "procedural_3": "plug of no standard, three pins",
}
"""The families' names for people."""


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
