"""Where to touch: three places on the face, then the plate's four sides, from what is held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from robot_bridge.errors import ProbeError
from robot_bridge.probing.limits import ProbeSettings
from robot_bridge.protocol.probe_messages import ProbeTarget

Surface = Literal["face", "x-", "x+", "y-", "y+"]
CLEAR = 0.006
"""Height of the tool above the nominal face while it travels [m]."""
MARGIN = 0.0015
"""Beyond what is known, at both ends of an approach [m]."""
TURN = 0.2
"""Of the tool to either side, at the y sides [rad]: more than socket and grasp are ever turned, so
that the plug's corner on a known side is what touches."""
ASIDE = 0.01
"""Along a y side, to either side of its middle [m]: far apart they tell how the plate is turned."""
DEEP = 0.006
"""Least depth of the tool at a side [m]."""


@dataclass(frozen=True)
class Approach:
    """start: x, y, z, yaw (4,) of the tool. direction: (3,), unit. travel: most of it [m]."""

    surface: Surface
    start: np.ndarray
    direction: np.ndarray
    travel: float


def approaches(target: ProbeTarget, settings: ProbeSettings) -> list[Approach]:
    """In order. Raises ProbeError where they leave what the bridge allows."""
    down = np.array([0.0, 0.0, -1.0])
    sunk = target.height + target.tilt * max(target.plate)
    planned = [
        Approach("face", np.array([x, y, CLEAR, 0.0]), down, CLEAR + sunk + MARGIN)
        for x, y in target.landings
    ]
    if target.yaw + target.grasp_yaw >= TURN:
        raise ProbeError(
            f"the socket may be turned by {target.yaw:g} rad and the grasp by "
            f"{target.grasp_yaw:g}; expected less than {TURN:g} together"
        )
    planned += [_side(target, *side) for side in _SIDES]
    for each in planned:
        most = np.abs(each.start[:2]).max() + MARGIN
        if most > settings.reach or -each.start[2] + sunk > settings.below:
            raise ProbeError(
                f"the plate's side {each.surface} takes probing to {1e3 * most:.0f} mm from the "
                f"nominal socket and {-1e3 * each.start[2]:.0f} mm below its face; the bridge's "
                f"probe.reach is {1e3 * settings.reach:.0f} mm, probe.below "
                f"{1e3 * settings.below:.0f} mm"
            )
    return planned


# Surface, axis, outward sign, turn of the tool, place along the side. A y side tells by its two
# touches a sum of the seat's yaw and the socket's, the other side their difference.
_SIDES: tuple[tuple[Surface, int, int, float, float], ...] = (
    ("y-", 1, -1, TURN, -ASIDE),
    ("y-", 1, -1, -TURN, ASIDE),
    ("x+", 0, 1, 0.0, 0.0),
    ("y+", 1, 1, -TURN, ASIDE),
    ("y+", 1, 1, TURN, -ASIDE),
    ("x-", 0, -1, 0.0, 0.0),
)


def _side(
    target: ProbeTarget, surface: Surface, axis: int, sign: int, turn: float, along: float
) -> Approach:
    c, s = np.cos(turn), np.sin(turn)
    turned = [(c * p.x - s * p.y, s * p.x + c * p.y, p.radius) for p in target.posts]
    # How far what is held reaches from the tool's middle towards the plate.
    reach = max(-sign * place[axis] + place[2] for place in turned)
    wide = max(abs(place[1 - axis]) + place[2] for place in turned)
    slack = target.across + target.grasp + target.yaw * (abs(along) + wide + target.across)
    slack += target.grasp_yaw * wide
    start = np.zeros(4)
    start[axis] = sign * (target.plate[axis] + reach + slack + MARGIN)
    start[1 - axis] = along
    lowest = max(post.bottom for post in target.posts) + target.height + MARGIN
    start[2] = -max(DEEP, lowest + target.tilt * target.plate[axis])
    start[3] = turn
    direction = np.zeros(3)
    direction[axis] = -sign
    return Approach(surface, start, direction, 2 * (slack + MARGIN))
