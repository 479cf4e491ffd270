"""Attempts of scripts on the simulated arm, in this process: the twin's worlds and starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np

from sim.core.task_space import Task
from sim.insertion.arm import ArmBody
from sim.insertion.scripted import Privileged, SpiralSearch
from sim.insertion.spec import CONTROL_PERIOD
from sim.insertion.worlds import InsertionWorlds

SCRIPTS = {"spiral search": SpiralSearch, "privileged": Privileged}


@dataclass
class Attempts:
    """Of N tasks (N,). inside: how deep pins and the slots' sides penetrate each other, one number
    [m] for each control period in which they touch."""

    success: np.ndarray
    seconds: np.ndarray
    peak_force: np.ndarray
    inside: list[float] = field(default_factory=list)


def attempts(script: str, tasks: Sequence[Task], seed: int) -> Attempts:
    """One attempt at each task, from the first start that the twin has there."""
    n = len(tasks)
    found = Attempts(np.zeros(n, bool), np.zeros(n), np.zeros(n))
    worlds = InsertionWorlds(1, seed, 1, ArmBody)
    for number, task in enumerate(tasks):
        worlds.assign([task])
        # An episode's noise depends on nothing that ran before it, as on the twin.
        worlds.rng = np.random.default_rng([seed, number, 0])
        worlds.reset(np.ones(1, bool))
        player, done = SCRIPTS[script](), False
        while not done:
            step = worlds.step(player.act(worlds))
            done = bool(step.done[0])
            found.seconds[number] += CONTROL_PERIOD
            found.success[number] |= step.success[0]
            if (depth := _penetration(worlds)) > 0:
                found.inside.append(depth)
        found.peak_force[number] = worlds.peak_force[0]
    worlds.close()
    return found


def _penetration(worlds: InsertionWorlds) -> float:
    """Of the deepest contact whose normal is nearer to the horizontal than to the socket's axis."""
    model = worlds.sim.model(0)
    data = mujoco.MjData(model)
    data.qpos[:] = worlds.configuration(0)
    mujoco.mj_forward(model, data)
    return max((-c.dist for c in data.contact if abs(c.frame[2]) < 0.5), default=0.0)
