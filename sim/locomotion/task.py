"""What differs between locomotion tasks, and the factors that a latent may stand for.

In a prototype a well-trained policy gained nothing from knowing single mild factors; so there are
ice, weak joints and heavy loads off the centre, on ground of every kind (docs/tasks.md).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from adapt.bundle.fields import Factor
from sim.core.task_space import Parameter, Task, TaskSpace
from sim.locomotion import terrain
from sim.robots.go2 import JOINTS

HEALTHY = "none"
WEAK = (HEALTHY, *JOINTS)
MAX_LOAD, LOAD_X, LOAD_Y = 10.0, 0.15, 0.06
"""Payload [kg] and how far off the body's centre it may lie [m]."""
ICE_FRICTION = 0.12
MAX_DELAY = 0.04
GRIP = 0.6
"""A slope's tangent is at most this share of the ground's friction: nothing walks up sheer ice."""

CASES: dict[str, tuple[str, ...]] = {
    "nominal": (),
    "ice": ("friction", "ice"),
    "joint": ("strength",),
    "load": ("payload",),
    "slope": ("slope", "friction", "softness"),
    "ice and load": ("friction", "ice", "payload"),
    "joint and load": ("strength", "payload"),
    "ice and joint": ("friction", "ice", "strength"),
    "all": ("friction", "ice", "strength", "payload", "slope", "softness"),
}
"""What departs from its nominal value in a task of each case; the rest of the parameters always
may. Were all of them unknown in every task, a policy would hardly ever meet a whole robot."""
GATED = ("friction", "ice", "strength", "payload", "slope", "softness")

SPACE = TaskSpace(
    "locomotion",
    (
        Parameter(
            "terrain", "1", 0, len(terrain.KINDS) - 1, "choice", 0, tuple(terrain.KINDS),
            unseen=("waves",),
        ),
        Parameter("difficulty", "1", 0, 1, nominal=0),
        Parameter(
            "case", "1", 0, len(CASES) - 1, "choice", len(CASES) - 1, tuple(CASES),
            unseen=("ice and joint",),
        ),
        Parameter("slope", "rad", 0, 0.35, nominal=0),
        Parameter("friction", "1", 0.12, 1.2, "log", 0.8, held_out=((-0.3, 0.0),)),
        Parameter("ice", "1", 0, 0.6, nominal=0),
        Parameter("softness", "1", 0, 1, nominal=0),
        Parameter("payload", "kg", 0, MAX_LOAD, nominal=0, held_out=((0.2, 0.5),)),
        Parameter("payload_x", "m", -LOAD_X, LOAD_X),
        Parameter("payload_y", "m", -LOAD_Y, LOAD_Y),
        Parameter("gain", "1", 0.7, 1.3, nominal=1),
        Parameter("damping", "1", 0.5, 2.0, "log", 1.0),
        Parameter("delay", "s", 0, MAX_DELAY, nominal=0.01),
        Parameter("weak_joint", "1", 0, len(WEAK) - 1, "choice", 0, WEAK, unseen=("RR_thigh",)),
        Parameter("strength", "1", 0, 1, nominal=1),
        # Draws the ground's shape; no factor of anything.
        Parameter("seed", "1", 0, 1e6, nominal=0),
    ),
    {
        "ranges": "chosen: terrains as in public legged training environments; friction, payload, "
        "delay and joint strength wider than in rapid motor adaptation (arXiv 2107.04034)",
    },
)  # fmt: skip


def _narrowed(**changes: dict[str, object]) -> TaskSpace:
    """The space with other fields of some parameters."""
    parameters = [replace(p, **changes.get(p.name, {})) for p in SPACE.parameters]
    return replace(SPACE, parameters=tuple(parameters))


UNEVEN = tuple(kind for kind in terrain.KINDS if kind not in ("flat", "rough"))
GENTLE_CASES = ("nominal", "joint", "load", "joint and load")
FLAT_SPACE = _narrowed(
    terrain={"unseen": tuple(kind for kind in terrain.KINDS if kind != "flat")},
    case={"unseen": tuple(case for case in CASES if case != "nominal")},
)
"""Level ground and nothing that departs from its nominal value but motors and delay."""
GENTLE_SPACE = _narrowed(
    terrain={"unseen": UNEVEN},
    difficulty={"high": 0.5},
    case={"unseen": tuple(case for case in CASES if case not in GENTLE_CASES)},
)
"""Level and rough ground, loads and weak joints: what a robot that has just learnt to walk can
learn without falling all the time."""
MODERATE_SPACE = _narrowed(
    terrain={"unseen": UNEVEN}, difficulty={"high": 0.5}, slope={"high": 0.15}
)
"""The same ground with every body, with ice and slopes to 8.6°: what is learnt at length, and where
knowing pays. The held-out joint and case stay unseen."""


def actual(task: Task) -> dict[str, float]:
    """The values that act, by name: nominal where the task's case leaves a parameter out."""
    case = CASES[task.choice("case")]
    off = [name for name in GATED if name not in case]
    found = {name: task[name] for name in SPACE.names}
    found |= {name: SPACE[name].nominal for name in off}
    grip = min(found["friction"], ICE_FRICTION) if found["ice"] else found["friction"]
    found["slope"] = min(found["slope"], math.atan(GRIP * grip))
    return found


def _share(name: str) -> float:
    """Of the cases in which a parameter departs from its nominal value."""
    return sum(name in case for case in CASES.values()) / len(CASES) if name in GATED else 1.0


def _factor(
    index: int, name: str, unit: str, share: float, low: float, high: float, rest: float
) -> Factor:
    """Of a quantity that is uniform in [low, high] in a share of tasks and `rest` in the others."""
    middle, variance = (low + high) / 2, (high - low) ** 2 / 12
    mean = share * middle + (1 - share) * rest
    spread = share * variance + share * (1 - share) * (middle - rest) ** 2
    return Factor(name, unit, mean, math.sqrt(spread), index)


def _parameter(index: int, name: str, unit: str) -> Factor:
    """The factor of a parameter, of its logarithm where its scale is one."""
    p = SPACE[name]
    log = math.log if p.scale == "log" else float
    return _factor(index, name, unit, _share(name), log(p.low), log(p.high), log(p.nominal))


def _moment(index: int, name: str, reach: float) -> Factor:
    """Of a payload's weight times its place, uniform in ± reach."""
    return Factor(name, "kg·m", 0.0, math.sqrt(_share("payload") / 9) * MAX_LOAD * reach, index)


_WEAK_SHARE = _share("strength") / len(WEAK)
FACTORS = (
    _parameter(0, "friction", "log 1"),
    _parameter(1, "ice", "1"),
    _parameter(2, "softness", "1"),
    _parameter(3, "payload", "kg"),
    _moment(4, "load_x", LOAD_X),
    _moment(5, "load_y", LOAD_Y),
    _parameter(6, "gain", "1"),
    _parameter(7, "damping", "log 1"),
    _parameter(8, "delay", "s"),
    *(
        _factor(9 + i, f"strength_{joint}", "1", _WEAK_SHARE, 0.0, 1.0, 1.0)
        for i, joint in enumerate(JOINTS)
    ),
)
"""Quantities that motion tells apart. A load shows as its weight and its moment about the body's
centre; gain and strength are one number for each joint, so strength is relative to the gain."""


def strengths(task: Task) -> np.ndarray:
    """(12,) share of its torque and gain that each joint has."""
    found = np.ones(len(JOINTS))
    weak = task.choice("weak_joint")
    if weak != HEALTHY:
        found[JOINTS.index(weak)] = actual(task)["strength"]
    return found


def task_factors(task: Task) -> np.ndarray:
    """The task's factors (n_f,), standardised as `FACTORS` says."""
    acts = actual(task)
    load = acts["payload"]
    values = [
        math.log(acts["friction"]),
        acts["ice"],
        acts["softness"],
        load,
        load * acts["payload_x"],
        load * acts["payload_y"],
        acts["gain"],
        math.log(acts["damping"]),
        acts["delay"],
        *strengths(task),
    ]
    return np.array([(v - f.offset) / f.scale for v, f in zip(values, FACTORS, strict=True)])
