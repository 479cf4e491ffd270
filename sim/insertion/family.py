"""The insertion family: trained on the wrist rig, shown on the arm or the rig."""

from __future__ import annotations

import numpy as np

from sim.core.embodiment import Embodiment, Measure
from sim.core.family import Family
from sim.core.worlds import Step
from sim.insertion.arm import ArmBody
from sim.insertion.body import WristBody
from sim.insertion.scripted import Demonstrations
from sim.insertion.space import SPACE, task_factors
from sim.insertion.spec import FORCE_LIMIT, SPEC
from sim.insertion.worlds import FORCE_COMFORT, InsertionWorlds

_WRENCH = SPEC.columns("wrench")


def _force(worlds: InsertionWorlds, step: Step | None) -> float:
    """Measured force of the last control period, sensor bias included [N]."""
    if step is None:
        return 0.0
    return float(np.linalg.norm(step.observation[0, _WRENCH][:3]))


def _relax(worlds: InsertionWorlds) -> None:
    """With the reference at the measured pose, springs exert no force and dampers remain."""
    worlds.reference[:] = worlds.sim.qpos


FAMILY = Family(
    SPACE,
    SPEC,
    InsertionWorlds,
    task_factors,
    Demonstrations,
    "success",
    Embodiment(
        bodies={
            "arm": lambda: InsertionWorlds(1, 0, 1, ArmBody),
            "wrist": lambda: InsertionWorlds(1, 0, 1, WristBody),
        },
        measures={
            "peak_force": Measure("N", lambda worlds, step: worlds.peak_force[0]),
            "depth": Measure("m", lambda worlds, step: worlds.depth[0]),
        },
        gauge=("contact force", Measure("N", _force, FORCE_LIMIT, FORCE_COMFORT)),
        succeeded="seated",
        failed="force limit",
        relax=_relax,
    ),
)
