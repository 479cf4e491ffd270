"""The parity gate of every algorithm: a bundle's adapter and its torch agent in lock-step."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adapt.adapters.base import Adapter
from adapt.adapters.base import Transition as RobotTransition
from adapt.adapters.registry import make_adapter
from adapt.bundle.policy_bundle import PolicyBundle
from adapt.errors import LessonError
from policies.algorithms.contract import Action, Agent, Belief, Policy, Transition
from policies.rollout.trials import adaptation_curve
from sim.core.family import Family
from sim.core.worlds import Worlds


@dataclass(frozen=True)
class Parity:
    """Largest absolute differences over all steps; action is normalised, belief mean and std."""

    steps: int
    action: float
    belief_mean: float
    belief_std: float

    @property
    def worst(self) -> float:
        return max(self.action, self.belief_mean, self.belief_std)


class LockStep(Agent):
    """One world's agent that answers by the robot's adapter, while the torch agent answers the same
    observations on the same latents. The adapter's answers go into the world, so an error in its
    belief feeds back into what both see next.
    """

    def __init__(self, adapter: Adapter, agent: Agent) -> None:
        super().__init__(1, agent.generator)
        self._adapter, self._agent = adapter, agent
        self.steps, self.worst = 0, np.zeros(3)

    def reset(self, which: np.ndarray, factors: np.ndarray) -> None:
        self._adapter.reset()
        self._agent.reset(which, factors)

    def begin_episode(self, which: np.ndarray) -> None:
        self._adapter.begin_episode()
        self._agent.begin_episode(which)

    def act(
        self, observation: np.ndarray, stochastic: np.ndarray | bool, latent: Tensor | None = None
    ) -> Action:
        answer = self._adapter.act(observation[0])
        latent = torch.from_numpy(answer.latent.copy())[None]
        action = self._agent.act(observation, False, latent)
        self.steps += 1
        self._note(0, action.normalised[0], answer.normalised)
        return Action(answer.normalised[None], action.extras)

    def observe(self, transition: Transition, valid: np.ndarray) -> None:
        self._agent.observe(transition, valid)
        if valid[0]:
            t = transition
            reward, terminal = float(t.reward[0]), bool(t.terminal[0])
            self._adapter.observe(
                RobotTransition(
                    t.observation[0], t.action[0], reward, t.next_observation[0], terminal
                )
            )
        self._compare()

    def end_episode(self, which: np.ndarray, complete: np.ndarray) -> None:
        self._agent.end_episode(which, complete)
        # An episode that teaches nothing is as good here as one that does.
        with contextlib.suppress(LessonError):
            self._adapter.end_episode(bool(complete[0]))
        self._compare()

    def belief(self) -> Belief:
        return self._agent.belief()

    def _compare(self) -> None:
        robot, torch_ = self._adapter.belief, self._agent.belief()
        self._note(1, torch_.mean[0].numpy(), robot.mean)
        self._note(2, torch_.variance[0].sqrt().numpy(), np.sqrt(robot.variance))

    def _note(self, index: int, one: np.ndarray, other: np.ndarray) -> None:
        off = float(np.abs(one - other).max(initial=0.0))
        # A NaN is no parity: it would lose against every number.
        self.worst[index] = max(self.worst[index], off if np.isfinite(off) else np.inf)


@torch.no_grad()
def closed_loop(
    policy: Policy,
    family: Family,
    bundle: PolicyBundle,
    tasks: int,
    episodes: int,
    seed: int,
    worlds: Worlds | None = None,
) -> Parity:
    """Play simulated tasks with the bundle's adapter and the policy's agent side by side.

    episodes: of each task. worlds: one world to play in, closed at the end; the family's own if
    there is none.
    """
    worlds = worlds or family.make(1, seed, 1)
    steps, worst = 0, np.zeros(3)
    chosen = family.space.sample(tasks, np.random.default_rng(seed), "train")
    for number, task in enumerate(chosen):
        worlds.assign([task])
        agent = policy.agent(1, torch.Generator().manual_seed(seed))
        both = LockStep(make_adapter(bundle, seed + number), agent)
        adaptation_curve(worlds, both, episodes)
        steps, worst = steps + both.steps, np.maximum(worst, both.worst)
    worlds.close()
    return Parity(steps, *worst.tolist())
