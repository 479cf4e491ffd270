"""Walks of a policy over locomotion tasks, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from policies.algorithms.contract import Action, Agent, Policy
from policies.rollout.driver import roll_out
from sim.core.task_space import Task
from sim.core.worlds import Step
from sim.locomotion.family import FAMILY
from sim.locomotion.spec import CONTROL_PERIOD, N_ACTION
from sim.locomotion.task import MODERATE_SPACE
from sim.locomotion.worlds import HOLD_COMMAND, LocomotionWorlds

MODERATE = replace(FAMILY, space=MODERATE_SPACE)
"""What the shipped policy was trained for, with a robot's physics, as `acclimate twin family=`
names it."""

SETTLING = round(1.0 / CONTROL_PERIOD)
"""Control periods after a new command in which a robot changes its speed: 1 s."""

Moment = Callable[[LocomotionWorlds, Agent, int], None]
"""Called after each control period with its number, from 1."""


@dataclass
class Walk:
    """Sums over B tasks; a robot that fell stood up again at its start and went on.

    falls: (B,). asked, progress, distance: (B,) [m]. error: (B,) mean difference of the velocity
    from the command [m/s]; settled: (B,) the same from 1 s after each command on, NaN for a robot
    that never gets so far. transport: (B,) energy per weight [m], to be divided by the distance.
    gait: (B,) by name, of each robot's last episode. errors: (T, B) of each control period [m/s].
    """

    falls: np.ndarray
    asked: np.ndarray
    progress: np.ndarray
    distance: np.ndarray
    error: np.ndarray
    transport: np.ndarray
    settled: np.ndarray
    gait: dict[str, np.ndarray] = field(default_factory=dict)
    errors: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def summary(self, which: np.ndarray) -> dict[str, tuple[float, str]]:
        """Values and units by metric over the tasks where which (B,) is True."""
        walked = self.distance[which].sum()
        found = {
            "velocity error": (float(self.error[which].mean()), "m/s"),
            "settled velocity error": (float(np.nanmean(self.settled[which])), "m/s"),
            "progress": (float(self.progress[which].sum() / self.asked[which].sum()), "1"),
            "falls": (float(1000 * self.falls[which].sum() / walked), "1/km"),
            "cost of transport": (float(self.transport[which].sum() / walked), "1"),
        }
        units = {"duty": "1", "clearance": "m", "slip": "m/s", "torque": "N·m", "action_rate": "1"}
        for name, unit in units.items():
            found[name.replace("_", " ")] = float(self.gait[name][which].mean()), unit
        return found


class WalkRecorder:
    """Records a walk of so many control periods; see `policies.rollout.driver.Recorder`."""

    def __init__(
        self, worlds: LocomotionWorlds, agent: Agent, periods: int, moment: Moment | None
    ) -> None:
        b = worlds.worlds
        self._worlds, self._agent, self._periods, self._moment = worlds, agent, periods, moment
        self._period = 0
        self.going = np.ones(b, bool)
        self._error = np.zeros(b)
        self._errors = np.zeros((periods, b))
        self._settled = np.zeros((periods, b), bool)
        zeros = [np.zeros(b) for _ in range(7)]
        self.walk = Walk(*zeros, gait={}, errors=self._errors)

    @property
    def finished(self) -> bool:
        return self._period == self._periods

    def began(self, which: np.ndarray) -> None:
        """Nothing is kept of an episode's beginning."""

    def record(self, observation: np.ndarray, action: Action, step: Step) -> np.ndarray:
        worlds, account, walk = self._worlds, self._worlds.account, self.walk
        self._errors[self._period] = worlds.speed_error()
        self._settled[self._period] = worlds.elapsed % HOLD_COMMAND >= SETTLING
        self._period += 1
        over = step.done | self.finished
        walk.falls += (step.discount == 0) & ~step.diverged
        for name in ("asked", "progress", "distance"):
            getattr(walk, name)[over] += getattr(account, name)[over]
        moved = account.distance[over]
        walk.transport[over] += np.where(moved > 0, account.cost_of_transport[over] * moved, 0.0)
        self._error[over] += (account.error * account.periods)[over]
        if self.finished:
            walk.gait, walk.errors = account.gait(), self._errors
            walk.error[:] = self._error / self._periods
            # A robot that falls all the time never settles: NaN.
            counted = np.where(self._settled, self._errors, np.nan)
            some = self._settled.any(axis=0)
            walk.settled[:] = np.nan
            walk.settled[some] = np.nanmean(counted[:, some], axis=0)
        if self._moment is not None:
            self._moment(worlds, self._agent, self._period)
        return ~step.diverged


class TrotAgent(Agent):
    """The open-loop trot that every policy modulates, left as it is."""

    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        return Action(np.zeros((self.worlds, N_ACTION), np.float32))


class Trot:
    """See `TrotAgent`; what any policy must be better than."""

    episodes_per_step, adapts, privileged = 1, False, False

    def agent(self, worlds: int, generator: torch.Generator, share: int = 1) -> TrotAgent:
        return TrotAgent(worlds, generator)


def walk(
    policy: Policy,
    tasks: Sequence[Task],
    seconds: float,
    seed: int,
    *,
    learning: float = np.inf,
    moment: Moment | None = None,
    robot: Path | None = None,
) -> Walk:
    """Let a policy walk on every task.

    Args:
        seconds: of each robot's walk.
        seed: of commands, starts and noise.
        learning: seconds of walking, before the walk that counts, for which the belief follows;
            then it stays. 0: it stays at the prior. Infinite: it follows in the walk, from the
            prior.
        moment: called in the walk that counts.
        robot: joint map of another robot.
    """
    worlds = LocomotionWorlds(len(tasks), seed, 1, robot=robot)
    everyone = np.ones(len(tasks), bool)
    try:
        worlds.assign(tasks)
        agent = policy.agent(len(tasks), torch.Generator().manual_seed(seed))
        agent.reset(everyone, worlds.factors())
        if np.isfinite(learning):
            if learning > 0:
                first = WalkRecorder(worlds, agent, round(learning / CONTROL_PERIOD), None)
                roll_out(worlds, agent, first)
            agent.adapting = np.zeros(len(tasks), bool)
        # The walks that count have the same commands, also where other walks came before.
        worlds.rng = np.random.default_rng(seed)
        recorder = WalkRecorder(worlds, agent, round(seconds / CONTROL_PERIOD), moment)
        roll_out(worlds, agent, recorder)
        return recorder.walk
    finally:
        worlds.close()
