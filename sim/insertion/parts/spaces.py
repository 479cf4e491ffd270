"""Task spaces beside the first: one plug from a file, and the broad distribution of plugs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from msgspec import structs

from sim.core.fixed_sets import FixedSets
from sim.core.parameter import Parameter
from sim.core.task_space import TaskSpace
from sim.insertion.parts.described import described_plug
from sim.insertion.parts.procedural import LENGTH_BANDS, PROCEDURAL
from sim.insertion.plugs import MM
from sim.insertion.space import FACTORS, SPACE
from sim.insertion.wrist import SHAPE

TESTS = FixedSets(train=0, held_out=1000, seed=16)
"""Of a plug from a file: its tasks are for tests alone, the same on every machine."""


VARIATION = (
    Parameter("noise", "1", 1, 1, nominal=1),
    Parameter("command_delay", "s", 0, 0.04, nominal=0.0),
    Parameter("damping", "1", 0.6, 1.4, nominal=1),
    Parameter("tip_friction", "N", 0, 1.5, nominal=0),
    Parameter("joint_friction", "1", 0.5, 2, "log", 1),
    Parameter("payload", "kg", 0, 0.5, nominal=0),
)
"""What arms differ in, apart from what the first space has: measurement noise, in multiples of the
nominal one; delay of the reference; damping, in multiples of the critical one; Coulomb friction
that a controller leaves, at the tip of the rig and in multiples of the nominal one in the joints of
the arm; and a mass at the arm's tool that its controller does not know of. A space that lacks them
has the nominal values."""

CONDITIONS: dict[str, tuple[Parameter, ...]] = {
    "noise doubled": (Parameter("noise", "1", 2, 2, nominal=2),),
    "40 ms delay": (Parameter("command_delay", "s", 0.04, 0.04, nominal=0.04),),
    "2° tilt": (
        Parameter(
            "socket_tilt_x", "rad", math.radians(2), math.radians(2), nominal=math.radians(2)
        ),
        Parameter("socket_tilt_y", "rad", 0, 0),
    ),
    "offsets × 1.5": tuple(
        replace(p, low=1.5 * p.low, high=1.5 * p.high)
        for p in SPACE.parameters
        if p.name in {"socket_x", "socket_y", "socket_yaw", "grasp_x", "grasp_y", "grasp_yaw"}
    ),
}
"""Harder conditions than training's, for tests: parameters that replace or join a space's own."""


def plug_space(path: Path, condition: str = "") -> TaskSpace:
    """The unknowns of the first space, for the one plug that a file describes.

    condition: of `CONDITIONS`; "" for none. Raises GeometryError for the file.
    """
    description = described_plug(path).description
    low, high = description.clearances
    own = [
        Parameter("family", "1", 0, 0, "choice", 0, (str(path),)),
        Parameter("clearance", "m", low, high, "log", math.sqrt(low * high)),
        *(Parameter(name, "1", 0, 0) for name in ("size", *SHAPE)),
        *(CONDITIONS[condition] if condition else ()),
    ]
    provenance = {**SPACE.provenance, "plug": description.source or description.name}
    return replace(SPACE, parameters=_changed(own), provenance=provenance, fixed=TESTS)


def _changed(own: list[Parameter]) -> tuple[Parameter, ...]:
    """The first space's parameters, with others in their place or behind them."""
    named: Mapping[str, Parameter] = {p.name: p for p in own}
    kept = tuple(named.get(p.name, p) for p in SPACE.parameters)
    return (*kept, *(p for p in own if p.name not in SPACE.names))


BROAD = replace(
    SPACE,
    name="insertion-broad",
    parameters=_changed(
        [
            Parameter("family", "1", 0, len(PROCEDURAL) - 1, "choice", 0, tuple(PROCEDURAL)),
            Parameter("size", "1", -1, 1),
            Parameter(
                "clearance", "m", 0.05 * MM, 0.3 * MM, "log", 0.12 * MM, held_out=((-0.2, 0.2),)
            ),
            Parameter(SHAPE[0], "1", -1, 1, held_out=LENGTH_BANDS),
            Parameter("virtual_mass", "kg", 1, 8, "log", 2),
            Parameter("virtual_inertia", "kg·m²", 0.003, 0.3, "log", 0.03),
            *VARIATION,
        ]
    ),
    provenance={"ranges": "chosen: plugs of no standard, 3-30 mm wide, at 0.05-0.3 mm a side"},
)
"""Plugs of `sim.insertion.parts.procedural` on arms of all kinds."""

_clearance = BROAD["clearance"]
BROAD_FACTORS = tuple(
    structs.replace(
        f,
        offset=math.log(_clearance.low * _clearance.high) / 2,
        # Of a uniform distribution, in the logarithm.
        scale=math.log(_clearance.high / _clearance.low) / math.sqrt(12),
    )
    if f.name == "clearance"
    else f
    for f in FACTORS
)
"""The first space's factors, the clearance standardised over this one."""
