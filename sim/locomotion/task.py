"""What differs between locomotion tasks, and the factors that a latent may stand for.

Families in which a well-trained policy gains nothing from knowing were left out by measurement:
single mild factors (docs/tasks.md). What stays are ice, weak joints and heavy loads off the
centre, on ground of every kind.
"""

from __future__ import annotations

import math

import numpy as np

from adapt.bundle.fields import Factor
from sim.core.task_space import Parameter, Task, TaskSpace
from sim.locomotion import terrain
from sim.robots.go2 import JOINTS

HEALTHY = "none"
WEAK = (HEALTHY, *JOINTS)
MAX_LOAD, LOAD_X, LOAD_Y = 10.0, 0.15, 0.06
"""Payload [kg] and how far off the body's centre it may lie [m]."""
ICE_FRICTION = 0.1
MAX_DELAY = 0.04

SPACE = TaskSpace(
    "locomotion",
    (
        Parameter(
            "terrain", "1", 0, len(terrain.KINDS) - 1, "choice", 0, tuple(terrain.KINDS),
            unseen=("waves",),
        ),
        Parameter("difficulty", "1", 0, 1, nominal=0),
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


def _moments(name: str) -> tuple[float, float]:
    """Mean and standard deviation of a parameter, of its logarithm where its scale is one."""
    p = SPACE[name]
    low, high = (math.log(p.low), math.log(p.high)) if p.scale == "log" else (p.low, p.high)
    return (low + high) / 2, (high - low) / math.sqrt(12)


def _factor(index: int, name: str, unit: str) -> Factor:
    mean, std = _moments(name)
    return Factor(name, unit, mean, std, index)


_SHARE = 1 / len(WEAK)
"""Of tasks in which one given joint is the weak one; its strength is then uniform in [0, 1]."""
_MOMENT = math.sqrt(MAX_LOAD**2 / 3)
FACTORS = (
    _factor(0, "friction", "log 1"),
    _factor(1, "ice", "1"),
    _factor(2, "softness", "1"),
    _factor(3, "payload", "kg"),
    Factor("load_x", "kg·m", 0.0, _MOMENT * LOAD_X / math.sqrt(3), 4),
    Factor("load_y", "kg·m", 0.0, _MOMENT * LOAD_Y / math.sqrt(3), 5),
    _factor(6, "gain", "1"),
    _factor(7, "damping", "log 1"),
    _factor(8, "delay", "s"),
    *(
        Factor(
            f"strength_{joint}", "1", 1 - _SHARE / 2,
            math.sqrt(_SHARE / 3 - (_SHARE / 2) ** 2), 9 + i,
        )
        for i, joint in enumerate(JOINTS)
    ),
)  # fmt: skip
"""Quantities that motion tells apart. A load shows as its weight and its moment about the body's
centre; gain and strength are one number for each joint, so strength is relative to the gain."""


def strengths(task: Task) -> np.ndarray:
    """(12,) share of its torque and gain that each joint has."""
    found = np.ones(len(JOINTS))
    weak = task.choice("weak_joint")
    if weak != HEALTHY:
        found[JOINTS.index(weak)] = task["strength"]
    return found


def task_factors(task: Task) -> np.ndarray:
    """The task's factors (n_f,), standardised as `FACTORS` says."""
    load = task["payload"]
    values = [
        math.log(task["friction"]),
        task["ice"],
        task["softness"],
        load,
        load * task["payload_x"],
        load * task["payload_y"],
        task["gain"],
        math.log(task["damping"]),
        task["delay"],
        *strengths(task),
    ]
    return np.array([(v - f.offset) / f.scale for v, f in zip(values, FACTORS, strict=True)])
