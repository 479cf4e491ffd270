"""The insertion family: trained on the wrist rig, shown on the arm or the rig."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from sim.core.embodiment import Embodiment, Measure, Probing
from sim.core.family import Family
from sim.core.worlds import Step
from sim.insertion.arm import ArmBody
from sim.insertion.body import Body, WristBody
from sim.insertion.cell import CellBody
from sim.insertion.parts.spaces import BROAD, BROAD_FACTORS, plug_space
from sim.insertion.probe import allow_probing, probe_target
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
            "cell": lambda: InsertionWorlds(1, 0, 1, CellBody),
        },
        measures={
            "peak_force": Measure("N", lambda worlds, step: worlds.peak_force[0]),
            "depth": Measure("m", lambda worlds, step: worlds.depth[0]),
        },
        gauge=("contact force", Measure("N", _force, FORCE_LIMIT, FORCE_COMFORT)),
        succeeded="seated",
        failed="force limit",
        relax=_relax,
        probing=Probing(probe_target, allow_probing),
    ),
)


def _broad_worlds(
    worlds: int, seed: int, threads: int, body: Callable[[int], Body] = WristBody
) -> InsertionWorlds:
    return InsertionWorlds(worlds, seed, threads, body, BROAD_SPEC)


BROAD_SPEC = replace(SPEC, factors=BROAD_FACTORS)
BROAD_FAMILY = replace(
    FAMILY,
    space=BROAD,
    spec=BROAD_SPEC,
    make=_broad_worlds,
    factors=lambda task: task_factors(task, BROAD_FACTORS),
    embodiment=replace(
        FAMILY.embodiment,
        bodies={
            "arm": lambda: _broad_worlds(1, 0, 1, ArmBody),
            "wrist": lambda: _broad_worlds(1, 0, 1, WristBody),
            "cell": lambda: _broad_worlds(1, 0, 1, CellBody),
        },
    ),
)
"""Plugs of no standard, to train on."""


def plug_family(path: str) -> Family:
    """The family of one plug that a file describes. Raises GeometryError."""
    return replace(FAMILY, space=plug_space(Path(path)))
