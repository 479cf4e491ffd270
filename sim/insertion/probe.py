"""What a probing robot is told of an insertion task: its plug, its plate, and how far they may be
from nominal. The drawing of the plug is known; where plug and socket are is not."""

from __future__ import annotations

import itertools

import numpy as np
from msgspec import structs

from adapt.errors import AcclimateError
from robot_bridge.protocol.probe_messages import Post, ProbeTarget
from sim.core.task_space import Task
from sim.insertion.plugs import MM
from sim.insertion.shapes import PLATE_HALF, Box, plug_shapes
from sim.insertion.worlds import InsertionWorlds
from sim.insertion.wrist import STIFFNESS, task_plug

ROOMS = (1.5 * MM, 0.5 * MM)
"""Between a pin that lands and the edge of a slot, beside what socket and grasp may be off: what a
plug should have, and what a large one has to do with."""
SLIDE = 7.0 * MM
"""Along x, to either side of the third landing: it is slid there."""
GRID = 2.0 * MM
LEAST = 400 * MM**2
"""Least area of the parallelogram that three landings span: else they tell no tilt."""


def probe_target(worlds: InsertionWorlds) -> ProbeTarget:
    """Of the task in the first world."""
    task = worlds.tasks[0]
    ranges = {name: task.space[name].high for name in task.space.names}
    found = posts(task)
    return ProbeTarget(
        (PLATE_HALF, PLATE_HALF),
        found,
        landings(found, ranges["socket_x"] + ranges["grasp_x"]),
        across=ranges["socket_x"],
        height=ranges["socket_z"],
        yaw=ranges["socket_yaw"],
        tilt=ranges["socket_tilt_x"],
        grasp=ranges["grasp_x"],
        grasp_yaw=ranges["grasp_yaw"],
        stiffness=STIFFNESS[:3],
    )


def allow_probing(worlds: InsertionWorlds, probing: bool) -> None:
    """Let the reference leave the task's workspace, or no longer."""
    worlds.probing = probing


def posts(task: Task) -> tuple[Post, ...]:
    """The upright edges of the task's plug."""
    plug = task_plug(task)
    made = []
    for shape in plug_shapes(plug)[:-1]:
        if isinstance(shape, Box):
            (x, y, z), (half_x, half_y, half_z) = shape.centre, shape.half
            ends = [plug.depth - p.length for p in plug.pins if (p.x, p.y) == (x, y)]
            end = min(ends, default=z - half_z)
            corners = itertools.product((-half_x, half_x), (-half_y, half_y))
            made += [Post(x + dx, y + dy, 0.0, z - half_z, end) for dx, dy in corners]
        elif shape.start[:2] == shape.end[:2]:
            x, y, bottom = shape.end
            made.append(Post(x, y, shape.radius, bottom, bottom - shape.radius))
    # A message carries no numbers of numpy's.
    return tuple(Post(*map(float, structs.astuple(post))) for post in made)


def landings(found: tuple[Post, ...], off: float) -> tuple[tuple[float, float], ...]:
    """Three places of the tool, far apart, at which its longest pins meet the face between slots
    and edge. off: how far plate and plug may be from nominal [m].

    Raises AcclimateError for a plug that leaves no room.
    """
    outline = np.array([[p.x, p.y, p.radius] for p in found])
    feet = np.array([[p.x, p.y, p.radius] for p in found if p.end < 0.1 * MM])
    steps = np.arange(-0.9 * PLATE_HALF, 0.9 * PLATE_HALF, GRID)
    places = np.array([(x, y) for x in steps for y in steps])
    for room in ROOMS:
        free = [place for place in places if _free(place, feet, outline, off + room, 0.0)]
        third = [place for place in free if _free(place, feet, outline, off + room, SLIDE)]
        triples = [
            (a, b, c) for c in _spread(third) for a, b in itertools.combinations(_spread(free), 2)
        ]
        best = max(triples, key=lambda triple: _area(*triple), default=None)
        if best is not None and _area(*best) >= LEAST:
            a, b, c = (tuple(np.round(place, 6).tolist()) for place in best)
            return (a, b, c)
    raise AcclimateError("the plug leaves no room on the plate's face to land beside its slots")


def _free(
    place: np.ndarray, feet: np.ndarray, outline: np.ndarray, room: float, slide: float
) -> bool:
    """Whether every foot lands between the slots, which are the plug's own outline, and the edge,
    room [m] away from both, also when it slides along x."""
    landed = feet[:, :2] + place
    radius = feet[:, 2]
    edge = PLATE_HALF - room - radius
    if (np.abs(landed[:, 0]) + slide > edge).any() or (np.abs(landed[:, 1]) > edge).any():
        return False
    low, high = _slots(outline)
    away = (radius + room)[:, None]
    x, y = landed[:, :1], landed[:, 1:]
    inside = (x > low[:, 0] - away - slide) & (x < high[:, 0] + away + slide)
    inside &= (y > low[:, 1] - away) & (y < high[:, 1] + away)
    return not inside.any()


def _slots(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes around groups of posts that stand closer than a slot's walls: corners (n, 2) each."""
    groups: list[list[int]] = []
    for i, (x, y, radius) in enumerate(outline):
        near = [
            g
            for g in groups
            if any(np.hypot(*(outline[j, :2] - (x, y))) < 2 * (radius + 4 * MM) for j in g)
        ]
        groups = [g for g in groups if g not in near] + [[i, *itertools.chain(*near)]]
    boxes = [outline[g] for g in groups]
    low = np.array([(b[:, :2] - b[:, 2:]).min(axis=0) for b in boxes])
    high = np.array([(b[:, :2] + b[:, 2:]).max(axis=0) for b in boxes])
    return low, high


def _spread(places: list[np.ndarray]) -> list[np.ndarray]:
    """The outermost of them, in sixteen directions; none of none."""
    if not places:
        return []
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    flat = np.array(places)
    chosen = {int(np.argmax(flat @ (np.cos(angle), np.sin(angle)))) for angle in angles}
    return [places[i] for i in sorted(chosen)]


def _area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    u, v = b - a, c - a
    return float(abs(u[0] * v[1] - u[1] * v[0]))
