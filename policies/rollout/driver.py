"""The one loop that steps worlds with an agent; recorders keep what each use wants of it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from adapt.errors import AcclimateError
from policies.algorithms.contract import Action, Agent, Transition
from sim.core.family import Script
from sim.core.worlds import Step, Worlds, WorldSpec


class Recorder(Protocol):
    """Keeps a roll-out, and says how long it lasts."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to record."""
        ...

    @property
    def going(self) -> np.ndarray:
        """(B,) worlds that begin another episode when theirs ends. The others step on with them,
        because all worlds step together, and count no more."""
        ...

    def began(self, which: np.ndarray) -> None:
        """An episode has begun in worlds (B,)."""
        ...

    def record(self, observation: np.ndarray, action: Action, step: Step) -> np.ndarray:
        """Keep one control period; returns the worlds (B,) in which it counts."""
        ...


class RollOut:
    """Steps worlds, each on the task that it has been assigned, with an agent.

    A `run` goes on where the one before it stopped. The agent keeps what it knows: for new tasks
    the caller resets it first.
    """

    def __init__(self, worlds: Worlds, agent: Agent) -> None:
        self.worlds, self.agent = worlds, agent
        self._due = np.ones(worlds.worlds, bool)
        self._observation = np.zeros((worlds.worlds, worlds.spec.observation_size), np.float32)
        self._period = 0

    @torch.no_grad()
    def run(self, recorder: Recorder, stochastic: np.ndarray | bool = False) -> None:
        """Step until the recorder has finished.

        Args:
            stochastic: whether, or in which worlds (B,), actions are drawn.

        Raises:
            AcclimateError: a world returned a number that is not finite, or an array of another
                shape.
        """
        worlds, agent = self.worlds, self.agent
        while not recorder.finished:
            if self._due.any():
                self._begin(recorder)
            going, observation = recorder.going, self._observation
            action = agent.act(observation, stochastic)
            step = worlds.step(action.normalised)
            self._period += 1
            _check(
                worlds.spec,
                self._period,
                ~step.diverged,
                observation=step.observation,
                reward=step.reward,
                measured_reward=step.measured_reward,
                discount=step.discount,
            )
            valid = recorder.record(observation, action, step)
            terminal = step.discount == 0
            agent.observe(
                Transition(
                    observation, action.normalised, step.measured_reward, step.observation, terminal
                ),
                valid,
            )
            self._due, self._observation = step.done, step.observation
            if (step.done & going).any():
                agent.end_episode(step.done & going, ~step.diverged)

    def _begin(self, recorder: Recorder) -> None:
        """Reset the worlds whose episode is over; those that the recorder wants begin another."""
        self._observation = self.worlds.reset(self._due)
        _check(self.worlds.spec, self._period, self._due, observation=self._observation)
        begun = self._due & recorder.going
        if begun.any():
            self.agent.begin_episode(begun)
            recorder.began(begun)


def roll_out(
    worlds: Worlds, agent: Agent, recorder: Recorder, stochastic: np.ndarray | bool = False
) -> None:
    """One `RollOut.run` from fresh episodes in every world."""
    RollOut(worlds, agent).run(recorder, stochastic)


class ScriptedAgent(Agent):
    """A family's script in the place of a policy; `worlds` have their tasks already."""

    def __init__(self, script: Script, worlds: int) -> None:
        self.worlds, self.adapting = worlds, np.zeros(worlds, bool)
        self._script = script

    def begin_episode(self, which: np.ndarray) -> None:
        self._script.begin(which)

    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: object = None
    ) -> Action:
        return Action(self._script.act(observation).astype(np.float32))


def _check(spec: WorldSpec, period: int, which: np.ndarray, **fields: np.ndarray) -> None:
    """Raises AcclimateError naming a field of another shape than (B,), of the observation (B, n_o),
    or world, control period and field of a number that is not finite in worlds (B,): one such
    number would poison replay, networks and checkpoint."""
    for name, values in fields.items():
        shape = (len(which), *([spec.observation_size] if name == "observation" else []))
        if values.shape != shape:
            raise AcclimateError(
                f"family {spec.name}: {name} has shape {values.shape} after {period} control "
                f"periods of a roll-out; expected {shape}"
            )
        finite = np.isfinite(values)
        if finite.all():
            continue
        bad = ~finite & (which if values.ndim == 1 else which[:, None])
        if not bad.any():
            continue
        world, *column = (int(i) for i in np.argwhere(bad)[0])
        where = name
        if column:
            names = [f"{f.name}[{i}]" for f in spec.observation for i in range(f.size)]
            where = f"{name} {names[column[0]]}"
        raise AcclimateError(
            f"family {spec.name}: {where} of world {world} is {values[(world, *column)]} after "
            f"{period} control periods of a roll-out; expected a finite number. Where the physics "
            "has failed, a family sets Step.diverged"
        )
