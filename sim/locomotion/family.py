"""The locomotion family, as the registry offers it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from msgspec import structs

from sim.core.embodiment import Embodiment, Measure
from sim.core.family import Family
from sim.core.worlds import Step, Worlds
from sim.locomotion.model import user_body
from sim.locomotion.spec import SPEC
from sim.locomotion.task import FLAT_SPACE, GENTLE_SPACE, MODERATE_SPACE, SPACE, task_factors
from sim.locomotion.worlds import LocomotionWorlds


class NoisyTrot:
    """Fills a replay with the reference gait under small actions that change slowly: a robot that
    mostly walks shows more than one that falls at once."""

    def __init__(self, worlds: Worlds, rng: np.random.Generator) -> None:
        self._action = np.zeros((worlds.worlds, worlds.spec.action_size))
        self.rng = rng

    def begin(self, which: np.ndarray) -> None:
        """An episode's actions do not follow from the last one's."""
        self._action[which] = 0.0

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Action (B, n_a): noise with a memory of a few control periods."""
        self._action += 0.3 * (self.rng.normal(0.0, 0.4, self._action.shape) - self._action)
        return np.clip(self._action, -1.0, 1.0)


def _speed_error(worlds: LocomotionWorlds, step: Step | None) -> float:
    """Difference of the base's horizontal velocity from the command, now [m/s]."""
    return float(worlds.speed_error()[0])


REST = 100
"""Control periods in which a robot that fell or was stopped comes to rest under damping: 2 s."""


def _on_robot(found: Family, robot: Path) -> Family:
    """The family on the robot of a joint map, which is checked here, before anything moves."""
    stance = ", ".join(f"{angle:g}" for angle in user_body(robot).stance)
    fields = tuple(
        structs.replace(field, description=f"joint angles less the stance ({stance})")
        if field.name == "joint_position"
        else field
        for field in found.spec.observation
    )
    spec, make = replace(found.spec, observation=fields), cast("Any", found.make)
    return replace(found, spec=spec, make=partial(make, robot=robot))


FAMILY = Family(
    SPACE,
    SPEC,
    LocomotionWorlds,
    task_factors,
    NoisyTrot,
    embodiment=Embodiment(
        measures={
            "distance": Measure("m", lambda worlds, step: worlds.account.distance[0]),
            "asked": Measure("m", lambda worlds, step: worlds.account.asked[0]),
            "progress": Measure("m", lambda worlds, step: worlds.account.progress[0]),
            "speed_error": Measure("m/s", lambda worlds, step: worlds.account.error[0]),
            "energy": Measure("J", lambda worlds, step: worlds.account.energy[0]),
            "energy_per_weight": Measure(
                "m", lambda worlds, step: worlds.account.energy_per_weight[0]
            ),
        },
        gauge=("speed error", Measure("m/s", _speed_error, 1.0, 0.1)),
        failed="fell",
        hold=LocomotionWorlds.stand,
        relax=LocomotionWorlds.damp,
        rest=REST,
    ),
    on_robot=_on_robot,
)

TRAINING = replace(FAMILY, make=partial(LocomotionWorlds, substeps=2, anywhere=True))
"""The same with physics steps of 10 ms, nearly twice as fast, and episodes that start at any place:
within a few seconds a robot that started on the level would hardly meet the ground that it is to
learn."""

FLAT = replace(TRAINING, space=FLAT_SPACE)
"""A healthy robot on level ground: where walking is learnt first."""

GENTLE = replace(TRAINING, space=GENTLE_SPACE)
"""Loads and weak joints in full, on level and rough ground: what is learnt second."""

MODERATE = replace(TRAINING, space=MODERATE_SPACE)
"""The same with ice and slopes: what is learnt at length."""
