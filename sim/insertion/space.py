"""The insertion task's unknown quantities, and the factors that a belief represents."""

from __future__ import annotations

import math

import numpy as np

from adapt.bundle.fields import Factor, Term
from sim.core.parameter import Parameter
from sim.core.task_space import Task, TaskSpace
from sim.insertion.plugs import FAMILIES, MM
from sim.insertion.wrist import SHAPE, seat_pose

SPACE = TaskSpace(
    "insertion",
    (
        Parameter("family", "1", 0, len(FAMILIES) - 1, "choice", 0, FAMILIES, unseen=("bs_1363",)),
        # Bands held out of training: a fifth of the sizes and of the clearances.
        Parameter("size", "1", -1, 1, held_out=((-0.6, -0.4), (0.3, 0.5))),
        Parameter(
            "clearance", "m", 0.08 * MM, 0.25 * MM, "log", 0.15 * MM, held_out=((-0.2, 0.2),)
        ),
        *(Parameter(name, "1", -1, 1) for name in SHAPE),
        Parameter("socket_x", "m", -3 * MM, 3 * MM),
        Parameter("socket_y", "m", -3 * MM, 3 * MM),
        Parameter("socket_z", "m", -0.5 * MM, 0.5 * MM),
        Parameter("socket_yaw", "rad", -0.08, 0.08),
        Parameter("socket_tilt_x", "rad", -0.01, 0.01),
        Parameter("socket_tilt_y", "rad", -0.01, 0.01),
        Parameter("grasp_x", "m", -0.5 * MM, 0.5 * MM),
        Parameter("grasp_y", "m", -0.5 * MM, 0.5 * MM),
        Parameter("grasp_yaw", "rad", -0.03, 0.03),
        Parameter("friction", "1", 0.15, 0.6, "log", 0.3),
        Parameter("retention", "N", 0, 12, nominal=6),
        Parameter("stiffness", "1", 0.7, 1.3, nominal=1),
        Parameter("controller_x", "m", -0.5 * MM, 0.5 * MM),
        Parameter("controller_y", "m", -0.5 * MM, 0.5 * MM),
        Parameter("force_bias_x", "N", -1.5, 1.5),
        Parameter("force_bias_y", "N", -1.5, 1.5),
        Parameter("force_bias_z", "N", -1.5, 1.5),
        Parameter("torque_bias_x", "N·m", -0.03, 0.03),
        Parameter("torque_bias_y", "N·m", -0.03, 0.03),
        Parameter("torque_bias_z", "N·m", -0.03, 0.03),
        Parameter("wrench_delay", "s", 0, 0.02, nominal=0.01),
        # An arm's apparent mass at its tip; a body with links of its own ignores these.
        Parameter("virtual_mass", "kg", 1, 2, "log", 1.4),
        Parameter("virtual_inertia", "kg·m²", 0.003, 0.1, "log", 0.01),
    ),
    {
        "ranges": "chosen: socket found by a camera (±3 mm, ±4.6°), plug grasped by hand, "
        "clearances and plug sizes of mains and NIST parts",
    },
)


def _uniform_std(*names: str) -> float:
    """Standard deviation of the sum of independent, linearly scaled parameters."""
    return math.sqrt(sum((SPACE[n].high - SPACE[n].low) ** 2 / 12 for n in names))


def _terms(**weights: float) -> tuple[Term, ...]:
    """Uniform parameters of a factor that is a sum, with their weights."""
    return tuple(
        Term(n, _uniform_std(n), weight, (SPACE[n].low + SPACE[n].high) / 2)
        for n, weight in weights.items()
    )


FACTORS = (
    Factor("seat_x", "m", 0.0, _uniform_std("socket_x", "grasp_x"), 0),
    Factor("seat_y", "m", 0.0, _uniform_std("socket_y", "grasp_y"), 1),
    Factor("seat_yaw", "rad", 0.0, _uniform_std("socket_yaw", "grasp_yaw"), 2),
    Factor("face_z", "m", 0.0, _uniform_std("socket_z"), 3),
    Factor("clearance", "log m", math.log(math.sqrt(0.08 * 0.25) * MM), 0.329, 4),
    Factor("friction", "log 1", math.log(math.sqrt(0.15 * 0.6)), 0.400, 5),
    Factor("stiffness", "1", 1.0, _uniform_std("stiffness"), 6),
    Factor("retention", "N", 6.0, _uniform_std("retention"), 7),
)
"""What a grounded latent represents: the tool pose at which the plug meets its socket, and the
contact's properties. Over the space each has mean 0 and variance 1 after standardisation."""

FACTOR_TERMS = {
    "seat_x": _terms(socket_x=1.0, grasp_x=-1.0),
    "seat_y": _terms(socket_y=1.0, grasp_y=-1.0),
    "seat_yaw": _terms(socket_yaw=1.0, grasp_yaw=-1.0),
    "face_z": _terms(socket_z=1.0),
}
"""What factors are sums of, to first order in the yaw; see `seat_pose`."""


def task_factors(task: Task, factors: tuple[Factor, ...] = FACTORS) -> np.ndarray:
    """The task's factors (n_f,), standardised as `factors` says: those of its family."""
    seat = seat_pose(task)
    physical = np.array(
        [
            seat.x,
            seat.y,
            seat.yaw,
            seat.z,
            math.log(task["clearance"]),
            math.log(task["friction"]),
            task["stiffness"],
            task["retention"],
        ]
    )
    return (physical - [f.offset for f in factors]) / [f.scale for f in factors]
