"""Trajectories: what every world met step by step, for learners."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from policies.algorithms.contract import Action, Agent
from policies.replay.run_replay import Run
from policies.rollout.driver import roll_out
from sim.core.worlds import Step, Worlds

Statistics = dict[str, float]


@dataclass
class TrajectoryRecorder:
    """Records T steps of B worlds.

    Args:
        spec, worlds, steps: sizes. task: (B,) index of each world's task.
        single: one episode in each world, padded to T steps; else as many as begin.
    """

    worlds: Worlds
    task: np.ndarray
    steps: int
    single: bool
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        spec, shape = self.worlds.spec, (self.worlds.worlds, self.steps)
        zeros = lambda *tail: np.zeros((*shape, *tail), np.float32)  # noqa: E731
        self.run = Run(
            task=self.task.astype(np.int64),
            observation=zeros(spec.observation_size),
            action=zeros(spec.action_size),
            reward=zeros(),
            measured_reward=zeros(),
            next_observation=zeros(spec.observation_size),
            discount=zeros(),
            valid=zeros(),
        )
        self.success, self.diverged = np.zeros(shape, bool), np.zeros(shape, bool)
        self.extras: dict[str, np.ndarray] = {}
        self.going = np.ones(len(self.task), bool)
        self._t = 0
        self._returns, self._total = np.zeros(len(self.task)), 0.0
        self._episodes = self._successes = 0

    @property
    def finished(self) -> bool:
        return self._t == self.steps or not self.going.any()

    def began(self, which: np.ndarray) -> None:
        """Every step is recorded alike, whichever episode it belongs to."""

    def record(self, observation: np.ndarray, action: Action, step: Step) -> np.ndarray:
        run, t, active = self.run, self._t, self.going
        valid = active & ~step.diverged
        run.observation[:, t], run.action[:, t] = observation, action.normalised
        run.reward[:, t], run.measured_reward[:, t] = step.reward, step.measured_reward
        run.next_observation[:, t], run.discount[:, t] = step.observation, step.discount
        run.valid[:, t] = valid
        self.success[:, t], self.diverged[:, t] = step.success & valid, step.diverged & active
        for name, value in action.extras.items():
            if name not in self.extras:
                shape = (*run.valid.shape, *value.shape[1:])
                self.extras[name] = np.zeros(shape, np.float32)
            self.extras[name][:, t] = value.detach().numpy()
        done = step.done & active
        self._returns += step.reward
        self._episodes += int(done.sum())
        self._successes += int((step.success & done).sum())
        self._total += float(self._returns[done].sum())
        self._returns[done] = 0.0
        if self.single:
            self.going = active & ~done
        self._t += 1
        return valid

    def result(self) -> tuple[Run, Statistics]:
        """The run, and episodes, mean return, success rate, diverged steps."""
        run, n = self.run, max(self._episodes, 1)
        # A diverged step holds no usable number; zeros are never gathered, but keep the arrays
        # finite.
        for name in ("observation", "action", "reward", "measured_reward", "next_observation"):
            getattr(run, name)[run.valid == 0] = 0.0
        return run, {
            "episodes": self._episodes,
            "return": self._total / n,
            "success": self._successes / n,
            "diverged": int(self.diverged.sum()),
        }


def collect_run(
    worlds: Worlds, agent: Agent, task: np.ndarray, steps: int, stochastic: np.ndarray | bool = True
) -> tuple[Run, Statistics]:
    """Run every world for T `steps` on the task that it has been assigned, from the prior.

    task: (B,) index of each world's task among the training tasks.
    stochastic: worlds (B,) where actions are drawn; the others act by the policy's mode, as a robot
        does, so that the encoder knows the contexts that robots bring.
    """
    recorder = TrajectoryRecorder(worlds, task, steps, single=False)
    agent.reset(np.ones(len(task), bool), worlds.factors())
    roll_out(worlds, agent, recorder, stochastic)
    return recorder.result()
